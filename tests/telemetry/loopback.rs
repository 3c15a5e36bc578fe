//! A server on this machine, for as long as the process lives.

use std::{
    net::{Ipv4Addr, TcpListener},
    thread,
};

use axum::Router;

/// Serves `router` on a thread of its own; answers the URL of its free port. It answers whatever the test's own runtime does meanwhile.
pub fn serve(router: Router) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
    });
    url
}
