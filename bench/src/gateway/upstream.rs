//! The upstream behind every peer: reads a request, answers with the same completion, keeps the connection.
//!
//! One blocking thread a connection, because nothing must wait here: what is measured is what a gateway adds.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

/// A short chat completion, as a provider sends it.
const COMPLETION: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there, how may I assist you today?"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#;

/// Starts on a free loopback port; serves until the process ends.
pub(super) fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free loopback port")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

/// Answers one connection's requests until the client closes it, or sends what this server does not read.
fn serve(stream: TcpStream) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{COMPLETION}",
        COMPLETION.len()
    );
    let _ = stream.set_nodelay(true);
    let Ok(mut writer) = stream.try_clone() else {
        return;
    };
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    while let Ok(Some(framing)) = head(&mut reader) {
        let read = match framing {
            Framing::Length(length) => skip(&mut reader, length),
            Framing::Chunked => skip_chunks(&mut reader),
        };
        if read.is_err() || writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

enum Framing {
    Length(u64),
    Chunked,
}

/// Reads a request's head; `None` at the connection's end.
fn head(reader: &mut impl BufRead) -> std::io::Result<Option<Framing>> {
    let mut framing = Framing::Length(0);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_end();
        if text.is_empty() {
            return Ok(Some(framing));
        }
        let Some((name, value)) = text.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            framing = Framing::Length(value.trim().parse().map_err(std::io::Error::other)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        }
    }
}

fn skip(reader: &mut impl BufRead, length: u64) -> std::io::Result<()> {
    let skipped = std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    if skipped == length {
        Ok(())
    } else {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

/// RFC 9112, section 7.1; without trailers, which no peer sends.
fn skip_chunks(reader: &mut impl BufRead) -> std::io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).map_err(std::io::Error::other)?;
        // The line break behind the chunk, or the empty line at the end.
        skip(reader, size + 2)?;
        if size == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn keeps_a_connection_over_both_framings() {
        let mut client = TcpStream::connect(start().unwrap()).unwrap();
        let requests = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
                        POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        client.write_all(requests.as_bytes()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
        assert_eq!(answers.matches(COMPLETION).count(), 2);
    }
}
