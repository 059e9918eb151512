//! A web server that says hello, for services.toml to have one wherever it runs.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};

pub(crate) fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("serving at {address}");
    for stream in listener.incoming() {
        // Whoever goes away before he is answered needs no answer.
        let _ = stream?.write_all(b"HTTP/1.0 200 OK\r\ncontent-length: 6\r\n\r\nhello\n");
    }
    Ok(())
}
