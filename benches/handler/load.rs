//! Load: some connections that are kept alive, on each one request after another, no pipelining.
//!
//! Written on bare sockets, because the client runs on the processors that are measured: it compares the first line of an answer
//! and counts its bytes, nothing more. One thread, so that the handler has the other processor.

use std::{
    net::Ipv4Addr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::{JoinSet, LocalSet},
};

/// Answers here have a few hundred bytes.
const LARGEST_ANSWER: usize = 16 << 10;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests a second.
    pub per_second: f64,
    /// The time within which 99 of 100 were answered, in microseconds.
    pub p99_microseconds: f64,
    /// How many were answered.
    pub answered: u64,
}

/// Sends `request` over and over for `time`; every answer must have `status`.
///
/// # Errors
/// If a connection breaks, or an answer is another.
pub fn run(
    port: u16,
    request: &[u8],
    status: u16,
    connections: usize,
    time: Duration,
) -> anyhow::Result<Load> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (request, expected): (Rc<[u8]>, Rc<[u8]>) =
        (request.into(), format!("HTTP/1.1 {status} ").into_bytes().into());
    LocalSet::new().block_on(&runtime, async {
        let mut sockets = Vec::new();
        for _ in 0..connections {
            let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            socket.set_nodelay(true)?;
            sockets.push(socket);
        }
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for socket in sockets {
            tasks.spawn_local(one_after_another(socket, request.clone(), expected.clone(), begun + time));
        }
        let mut microseconds = Vec::new();
        while let Some(done) = tasks.join_next().await {
            microseconds.extend(done??);
        }
        let seconds = begun.elapsed().as_secs_f64();
        microseconds.sort_unstable();
        let p99 = microseconds.get(microseconds.len() * 99 / 100).context("nothing was answered")?;
        Ok(Load {
            per_second: microseconds.len() as f64 / seconds,
            p99_microseconds: f64::from(*p99),
            answered: microseconds.len() as u64,
        })
    })
}

/// How long each answer took, in microseconds.
async fn one_after_another(
    mut socket: TcpStream,
    request: Rc<[u8]>,
    expected: Rc<[u8]>,
    until: Instant,
) -> anyhow::Result<Vec<u32>> {
    let (mut took, mut answer) = (Vec::new(), Vec::with_capacity(LARGEST_ANSWER));
    loop {
        let sent = Instant::now();
        if sent >= until {
            return Ok(took);
        }
        socket.write_all(&request).await?;
        answer.clear();
        loop {
            if socket.read_buf(&mut answer).await? == 0 {
                bail!("the handler closed a connection");
            }
            if is_whole(&answer)? {
                break;
            }
        }
        if !answer.starts_with(&expected) {
            bail!("the handler answered: {}", String::from_utf8_lossy(&answer));
        }
        took.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
}

/// Whether head and body are there.
fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = &answer[..end];
    const NAME: &[u8] = b"content-length:";
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = lines.find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME));
    let length = line.context("an answer says no length")?;
    let length: usize = std::str::from_utf8(&length[NAME.len()..])?.trim().parse()?;
    Ok(answer.len() >= end + 4 + length)
}
