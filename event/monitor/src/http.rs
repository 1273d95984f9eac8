//! HTTP/1.1 as scrapers, load balancers and container platforms speak it (RFC 9112): one request
//! without a body, one answer, the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// More than this is no request of a scraper.
const REQUEST_BYTES_MAX: usize = 4 << 10;

/// Who is answered at the same time; others wait in the kernel's queue.
const PEERS_MAX: usize = 4;

/// How long a peer may take to ask, and again to read.
const PATIENCE: Duration = Duration::from_secs(2);

/// A pause after a connection that could not be accepted, as when no descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a path is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Such as `200 OK`.
    pub status: &'static str,
    pub content_type: &'static str,
    pub body: String,
}

impl Answer {
    /// A page of metrics in Prometheus's text format 0.0.4.
    pub fn metrics(body: String) -> Answer {
        Answer { status: "200 OK", content_type: "text/plain; version=0.0.4; charset=utf-8", body }
    }
}

/// Answers for the paths that there are; `None` for others.
pub type Answers = Arc<dyn Fn(&str) -> Option<Answer> + Send + Sync>;

/// Answers on `listener` until `stop`. Paths that are not there are told that only `paths` are.
pub async fn serve(listener: TcpListener, paths: &'static str, answers: Answers, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(PEERS_MAX));
    // Peers that are still there at the end are dropped with it.
    let mut peers = JoinSet::new();
    let serving = async {
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
            while peers.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((peer, _)) => {
                    let answers = Arc::clone(&answers);
                    peers.spawn(async move {
                        let _place = place;
                        if let Err(error) = answer(peer, paths, &*answers).await {
                            tracing::debug!(%error, "whoever asked has not got the answer");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept who asks");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(serving).await;
}

async fn answer(
    mut peer: TcpStream,
    paths: &str,
    answers: &(dyn Fn(&str) -> Option<Answer> + Send + Sync),
) -> io::Result<()> {
    let request = tokio::time::timeout(PATIENCE, request(&mut peer)).await??;
    let answer = respond(&request, paths, answers);
    let write = async {
        peer.write_all(answer.as_bytes()).await?;
        peer.shutdown().await
    };
    tokio::time::timeout(PATIENCE, write).await?
}

/// A request's head, or what there is of it at the limit.
async fn request(peer: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut limited = peer.take(REQUEST_BYTES_MAX as u64);
    while !head.ends_with(b"\r\n\r\n") && limited.read_buf(&mut head).await? > 0 {}
    Ok(head)
}

/// The whole answer to a request's head.
fn respond(head: &[u8], paths: &str, answers: &dyn Fn(&str) -> Option<Answer>) -> String {
    if !head.ends_with(b"\r\n\r\n") {
        return plain("400 Bad Request", "", "this is no request of at most 4 KiB without a body\n");
    }
    let line = String::from_utf8_lossy(head.split(|b| *b == b'\r').next().unwrap_or_default());
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match answers(target.split('?').next().unwrap_or_default()) {
        Some(answer) if method == "GET" => written(answer.status, "", answer.content_type, &answer.body),
        Some(_) => plain("405 Method Not Allowed", "Allow: GET\r\n", "only GET is there\n"),
        None => plain("404 Not Found", "", &format!("only {paths} is there\n")),
    }
}

fn plain(status: &str, header: &str, body: &str) -> String {
    written(status, header, "text/plain; charset=utf-8", body)
}

fn written(status: &str, header: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{header}Content-Type: {content_type}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn answers(path: &str) -> Option<Answer> {
        (path == "/metrics").then(|| Answer::metrics("a 1\n".into()))
    }

    fn first_line(request: &[u8]) -> String {
        respond(request, "/metrics", &answers).lines().next().unwrap().to_owned()
    }

    #[test]
    fn only_the_paths_that_there_are_and_get_are_served() {
        assert_eq!(first_line(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(first_line(b"GET /metrics?x=1 HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(first_line(b"POST /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(first_line(b"GET /metricsx HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        for garbage in ["", "GET", "GET /metrics HTTP/1.1\r\n", "\0\u{1f}"] {
            assert_eq!(first_line(garbage.as_bytes()), "HTTP/1.1 400 Bad Request", "{garbage:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_asked_is_answered_with_one_whole_answer(head in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let answer = respond(&[&head[..], b"\r\n\r\n"].concat(), "/metrics", &answers);
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let length = format!("Content-Length: {}\r\n", body.len());
            proptest::prop_assert!(head.starts_with("HTTP/1.1 ") && head.contains(&length));
        }
    }

    async fn started(stop: &CancellationToken) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tokio::spawn(serve(listener, "/metrics", Arc::new(answers), stop.clone())))
    }

    async fn asked(address: SocketAddr, request: &[u8]) -> io::Result<String> {
        let mut peer = TcpStream::connect(address).await?;
        peer.write_all(request).await?;
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn whoever_asks_is_answered_until_the_program_stops() {
        let stop = CancellationToken::new();
        let (address, serving) = started(&stop).await;
        for _ in 0..2 * PEERS_MAX {
            let answer = asked(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
                            Content-Length: 4\r\nConnection: close\r\n\r\na 1\n";
            assert_eq!(answer, expected);
        }
        stop.cancel();
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn peers_that_say_nothing_are_left_after_two_seconds() {
        let (address, _serving) = started(&CancellationToken::new()).await;
        let mut silent = Vec::new();
        for _ in 0..PEERS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let began = tokio::time::Instant::now();
        let answer = asked(address, b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"));
        assert!(began.elapsed() >= Duration::from_millis(1_500), "all places were taken");
    }

    #[tokio::test]
    async fn a_request_without_end_is_refused_at_four_kib() {
        let (address, _serving) = started(&CancellationToken::new()).await;
        let answer = asked(address, &[b'x'; REQUEST_BYTES_MAX]).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{answer}");
    }
}
