//! As much of HTTP/1.1 as a scraper needs: GET and HEAD of a few paths.
//!
//! **Invariant**: a request may be anything; it costs bounded memory and bounded time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// A client that has not sent its request or read its answer by then is let go.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// GET, or HEAD.
    pub(crate) is_head: bool,
    /// The path without its query.
    pub(crate) path: String,
    /// The client understands OpenMetrics.
    pub(crate) accepts_openmetrics: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status with its words.
    pub(crate) status: &'static str,
    /// The media type.
    pub(crate) media_type: &'static str,
    /// The body.
    pub(crate) body: String,
}

impl Response {
    /// A plain answer of one line.
    pub(crate) fn plain(status: &'static str) -> Self {
        Self { status, media_type: "text/plain; charset=utf-8", body: format!("{status}\n") }
    }
}

/// Reads one request from `client`, answers it and closes.
///
/// # Errors
/// The client went away; that is its own business.
pub(crate) fn serve(
    mut client: TcpStream,
    answer: impl FnOnce(&Request) -> Response,
) -> io::Result<()> {
    client.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    client.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let head = read_head(&mut client, Instant::now() + CLIENT_TIMEOUT)?;
    let (is_head, response) = match parse(&head) {
        Ok(request) => (request.is_head, answer(&request)),
        Err(status) => (false, Response::plain(status)),
    };
    let Response { status, media_type, body } = response;
    let length = body.len();
    let mut text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    if !is_head {
        text.push_str(&body);
    }
    client.write_all(text.as_bytes())
}

/// Bytes up to the empty line, or as many as there may be.
fn read_head(client: &mut impl Read, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while head.len() < HEAD_BYTES_MAX && !ends(&head) {
        // A client that sends a byte a second passes every single timeout, not this one.
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match client.read(&mut buffer)? {
            0 => break,
            length => head.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(head)
}

fn ends(head: &[u8]) -> bool {
    head.windows(4).any(|window| window == b"\r\n\r\n")
}

fn parse(head: &[u8]) -> Result<Request, &'static str> {
    if !ends(head) {
        return Err(if head.len() >= HEAD_BYTES_MAX {
            "431 Request Header Fields Too Large"
        } else {
            "400 Bad Request"
        });
    }
    let text = std::str::from_utf8(head).map_err(|_| "400 Bad Request")?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("400 Bad Request");
    };
    if !version.starts_with("HTTP/1.") {
        return Err("505 HTTP Version Not Supported");
    }
    let is_head = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err("405 Method Not Allowed"),
    };
    let accepts_openmetrics = lines
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("accept"))
        .any(|(_, value)| value.contains("application/openmetrics-text"));
    let path = target.split('?').next().unwrap_or_default().to_owned();
    Ok(Request { is_head, path, accepts_openmetrics })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_understood() {
        let head = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n";
        let expected =
            Request { is_head: false, path: "/metrics".into(), accepts_openmetrics: true };
        assert_eq!(parse(head), Ok(expected));
    }

    #[test]
    fn anything_else_is_refused_by_its_name() {
        assert_eq!(parse(b""), Err("400 Bad Request"));
        assert_eq!(parse(b"\xff\xfe\r\n\r\n"), Err("400 Bad Request"));
        assert_eq!(parse(b"GET /\r\n\r\n"), Err("400 Bad Request"));
        assert_eq!(parse(b"GET / HTTP/2\r\n\r\n"), Err("505 HTTP Version Not Supported"));
        assert_eq!(parse(b"POST / HTTP/1.1\r\n\r\n"), Err("405 Method Not Allowed"));
        let flood = vec![b'a'; HEAD_BYTES_MAX + 1];
        assert_eq!(parse(&flood), Err("431 Request Header Fields Too Large"));
    }

    #[test]
    fn a_flood_is_read_only_so_far() {
        let mut endless = io::repeat(b'a');
        let deadline = Instant::now() + Duration::from_secs(60);
        let head = read_head(&mut endless, deadline).unwrap();
        assert!(head.len() < HEAD_BYTES_MAX + 1024 + 1);
    }
}
