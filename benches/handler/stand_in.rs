//! Azure's stand-in: hands out a token and one document of the ledger, with as little work of its own as it can, because it runs
//! on the processors that are measured.

use std::{net::Ipv4Addr, thread};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Requests here have a few hundred bytes.
const LARGEST_HEAD: usize = 16 << 10;
const TOKEN_PATH: &[u8] = b"GET /msi/token";

/// Starts it on a thread of its own; answers its port.
///
/// # Errors
/// If there is no port.
pub fn start(document: &[u8]) -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let (blob, token): (&'static [u8], &'static [u8]) = (blob(document).leak(), token().leak());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    thread::spawn(move || {
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (socket, _) = listener.accept().await?;
                // A connection that breaks is its handler's end.
                tokio::spawn(serve(socket, blob, token));
            }
            #[expect(unreachable_code, reason = "names the error's type")]
            std::io::Result::Ok(())
        })
    });
    Ok(port)
}

/// Answers the requests of one connection, one after another.
async fn serve(mut socket: TcpStream, blob: &[u8], token: &[u8]) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut head = Vec::with_capacity(LARGEST_HEAD);
    while socket.read_buf(&mut head).await? > 0 {
        if head.ends_with(b"\r\n\r\n") {
            socket.write_all(if head.starts_with(TOKEN_PATH) { token } else { blob }).await?;
            head.clear();
        }
    }
    Ok(())
}

/// Get Blob's answer (<https://learn.microsoft.com/rest/api/storageservices/get-blob>).
fn blob(document: &[u8]) -> Vec<u8> {
    let length = document.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Type: application/json\r\n\
         Accept-Ranges: bytes\r\nETag: \"0x8DE48CC0FFEE000\"\r\n\
         Last-Modified: Thu, 01 Jan 2026 00:06:00 GMT\r\nDate: Thu, 01 Jan 2026 00:10:00 GMT\r\n\
         Server: Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0\r\nx-ms-blob-type: BlockBlob\r\nx-ms-version: 2023-11-03\r\n\
         x-ms-request-id: 00000000-0000-0000-0000-000000000001\r\nx-ms-meta-status: open\r\n\
         x-ms-lease-state: available\r\nx-ms-lease-status: unlocked\r\nx-ms-server-encrypted: true\r\n\r\n"
    );
    [head.as_bytes(), document].concat()
}

/// As App Service's identity endpoint answers.
fn token() -> Vec<u8> {
    // 2100-01-01
    let body = r#"{"access_token":"benchmark","expires_on":"4102444800","resource":"https://storage.azure.com","token_type":"Bearer"}"#;
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: application/json\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
