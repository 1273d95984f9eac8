//! What EC2 says of this host, by IMDSv2 only: account, region, instance, tags.
//!
//! Nothing waits for it. What was learned is kept in the agent's folder and used at the
//! next start at once; the service is asked anew beside all other work, and outside EC2
//! nobody hears that it does not answer. No id of ours depends on it.

use aws_config::BehaviorVersion;
use aws_config::imds::Client;
use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use event::line::Cloud;
use futures::FutureExt;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// On Nitro the instance's id, for everybody to read.
const BOARD: &str = "/sys/class/dmi/id/board_asset_tag";

/// The service is next door, in the hypervisor: who takes longer does not come.
const CALL_PATIENCE: Duration = Duration::from_secs(1);

/// For a call with the token before it.
const STEP_PATIENCE: Duration = Duration::from_secs(2);

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// AWS allows no more ("Tag restrictions" in the EC2 user guide), and so do we: the
/// tags stand in each frame.
const TAGS_MAX: usize = 50;
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

/// Ids and names of EC2 are shorter.
const WORD_BYTES_MAX: usize = 64;

/// More than [`TAGS_MAX`] tags of four-byte characters, escaped, and the rest.
const KEPT_BYTES_MAX: u64 = 256 << 10;

/// What was learned here before. `None` if it was learned on another instance, from
/// whose image this one was made.
pub fn cached(state: &Path) -> Option<Cloud> {
    kept(state, Path::new(BOARD))
}

/// Learns where this host stands and passes it on once. Asks until it is told, with
/// growing pauses; does nothing with `AWS_EC2_METADATA_DISABLED=true`.
///
/// `AWS_EC2_METADATA_SERVICE_ENDPOINT` (and `_MODE`) names another service.
pub async fn learn(state: &Path, tell: impl Fn(Cloud), stop: CancellationToken) {
    // The SDK obeys this one where it wants credentials, but not in the plain client.
    let disabled = std::env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    if !disabled {
        learn_from(&client(None), state, tell, stop).await;
    }
}

/// A client without TLS, which the service has not, and without a proxy, which the SDK's
/// own would take from `HTTP_PROXY`: its answer would be about the proxy's host.
fn client(endpoint: Option<&str>) -> Client {
    let config = ProviderConfig::without_region()
        .with_behavior_version(Some(BehaviorVersion::latest()))
        .with_http_client(aws_smithy_http_client::Builder::new().build_http());
    let builder = Client::builder()
        .configure(&config)
        .max_attempts(1)
        .connect_timeout(CALL_PATIENCE)
        .read_timeout(CALL_PATIENCE)
        .operation_attempt_timeout(STEP_PATIENCE)
        .operation_timeout(STEP_PATIENCE);
    match endpoint {
        Some(endpoint) => builder.endpoint(endpoint).expect("a test gives a URL").build(),
        None => builder.build(),
    }
}

async fn learn_from(imds: &Client, state: &Path, tell: impl Fn(Cloud), stop: CancellationToken) {
    let learning = async {
        let mut pause = FIRST_PAUSE;
        loop {
            match ask(imds).await {
                Ok(cloud) => break cloud,
                Err(error) if pause == FIRST_PAUSE => {
                    let error = &error as &(dyn std::error::Error + 'static);
                    tracing::debug!(error, "no instance metadata so far: either this is not EC2, or it is late");
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    let Some(cloud) = stop.run_until_cancelled(learning).await else { return };
    if let Err(error) = keep(state, &cloud) {
        tracing::warn!(%error, "what EC2 says of this host cannot be kept for the next start");
    }
    tell(cloud);
}

/// Why nothing was learned.
#[derive(Debug, thiserror::Error)]
enum Unlearned {
    #[error("the instance metadata service does not answer")]
    Silent(#[from] Box<ImdsError>),
    #[error("what answers is no instance metadata service")]
    Stranger(#[from] serde_json::Error),
    #[error("`{0}` is no instance id")]
    Id(String),
    #[error("the instance metadata service says what its client cannot bear")]
    Unbearable,
}

/// Outside EC2 anybody on the same link may answer; the client panics at a few of the
/// answers that a stranger may think of.
async fn ask(imds: &Client) -> Result<Cloud, Unlearned> {
    AssertUnwindSafe(fetch(imds)).catch_unwind().await.unwrap_or(Err(Unlearned::Unbearable))
}

/// The instance identity document, as far as we need it (EC2 user guide, "Instance
/// identity documents").
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    instance_id: String,
    instance_type: Option<String>,
    availability_zone: Option<String>,
    region: Option<String>,
    account_id: Option<String>,
    image_id: Option<String>,
}

async fn fetch(imds: &Client) -> Result<Cloud, Unlearned> {
    let document = imds.get("/latest/dynamic/instance-identity/document").await.map_err(Box::new)?;
    let identity: Identity = serde_json::from_str(document.as_ref())?;
    if !is_word(&identity.instance_id) {
        return Err(Unlearned::Id(identity.instance_id.escape_default().take(WORD_BYTES_MAX).collect()));
    }
    let word = |given: Option<String>| given.filter(|text| is_word(text));
    Ok(Cloud {
        provider: "aws".to_owned(),
        region: word(identity.region),
        availability_zone: word(identity.availability_zone),
        account_id: word(identity.account_id),
        instance_id: Some(identity.instance_id),
        machine_type: word(identity.instance_type),
        vpc_id: vpc(imds).await?,
        image_id: word(identity.image_id),
        tags: tags(imds).await?,
    })
}

/// The VPC of the first network interface.
async fn vpc(imds: &Client) -> Result<Option<String>, Unlearned> {
    let mac = optional(imds, "/latest/meta-data/mac".to_owned()).await?;
    let Some(mac) = mac.filter(|mac| mac.len() == 17 && mac.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')) else {
        return Ok(None);
    };
    let path = format!("/latest/meta-data/network/interfaces/macs/{mac}/vpc-id");
    Ok(optional(imds, path).await?.filter(|id| is_word(id)))
}

/// The instance's tags, where the instance's owner allows to see them.
async fn tags(imds: &Client) -> Result<BTreeMap<String, String>, Unlearned> {
    let mut tags = BTreeMap::new();
    let keys = optional(imds, "/latest/meta-data/tags/instance".to_owned()).await?.unwrap_or_default();
    for key in keys.lines().filter(|key| is_key(key)).take(TAGS_MAX) {
        let value = optional(imds, format!("/latest/meta-data/tags/instance/{key}")).await?;
        if let Some(value) = value.filter(|value| value.chars().count() <= VALUE_CHARS_MAX) {
            tags.insert(key.to_owned(), value);
        }
    }
    Ok(tags)
}

/// `None` for what is not there, or not for us.
async fn optional(imds: &Client, path: String) -> Result<Option<String>, Box<ImdsError>> {
    match imds.get(path).await {
        Ok(text) => Ok(Some(text.into())),
        Err(ImdsError::ErrorResponse(refused)) if matches!(refused.response().status().as_u16(), 403 | 404) => Ok(None),
        Err(error) => Err(Box::new(error)),
    }
}

/// An id or a name, as EC2 gives them.
fn is_word(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

/// A key that EC2 allows where tags are in the metadata: it may stand in a path.
fn is_key(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+-=.,_:@".contains(&b);
    let reserved = matches!(text, "." | ".." | "_index");
    (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(plain) && !reserved
}

fn file(state: &Path) -> PathBuf {
    state.join("cloud.json")
}

fn keep(state: &Path, cloud: &Cloud) -> io::Result<()> {
    if read(state).as_ref() == Some(cloud) {
        return Ok(());
    }
    crate::spool::replace(&file(state), &serde_json::to_vec(cloud)?)
}

fn kept(state: &Path, board: &Path) -> Option<Cloud> {
    let cloud = read(state)?;
    let board = fs::read_to_string(board).unwrap_or_default();
    let here = board.trim().is_empty() || Some(board.trim()) == cloud.instance_id.as_deref();
    here.then_some(cloud)
}

fn read(state: &Path) -> Option<Cloud> {
    let mut text = Vec::new();
    File::open(file(state)).ok()?.take(KEPT_BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const TOKEN: &str = "AQAEAtoken==";

    const DOCUMENT: &str = r#"{
        "accountId": "123456789012", "architecture": "arm64", "availabilityZone": "eu-central-1b",
        "billingProducts": null, "imageId": "ami-0abc", "instanceId": "i-0123456789abcdef0",
        "instanceType": "c7g.large", "privateIp": "10.0.0.7", "region": "eu-central-1", "version": "2017-09-30"
    }"#;

    /// Answers by path; the token's path is `PUT`.
    type Answers = HashMap<String, (u16, String)>;

    fn answers(more: &[(&str, &str)]) -> Answers {
        let usual = [
            ("dynamic/instance-identity/document", DOCUMENT),
            ("meta-data/mac", "0a:1b:2c:3d:4e:5f"),
            ("meta-data/network/interfaces/macs/0a:1b:2c:3d:4e:5f/vpc-id", "vpc-0fedc"),
        ];
        let all = usual.iter().chain(more);
        all.map(|(path, text)| (format!("/latest/{path}"), (200, (*text).to_owned()))).collect()
    }

    /// A metadata service with version 2 only. Gives its URL.
    async fn service(answers: Answers, ttl: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::new(answers);
        tokio::spawn(async move {
            loop {
                let (peer, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(peer, Arc::clone(&answers), ttl));
            }
        });
        url
    }

    async fn answer(mut peer: TcpStream, answers: Arc<Answers>, ttl: &'static str) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if peer.read_buf(&mut head).await.unwrap() == 0 {
                return;
            }
        }
        let head = String::from_utf8(head).unwrap();
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let has = |header: &str| head.lines().any(|line| line.eq_ignore_ascii_case(header));
        let (status, text) = match method {
            "PUT" if path == "/latest/api/token" && has("x-aws-ec2-metadata-token-ttl-seconds: 21600") => (200, TOKEN),
            "GET" if !has(&format!("x-aws-ec2-metadata-token: {TOKEN}")) => (401, ""),
            _ => answers.get(path).map_or((404, "<html>404"), |(status, text)| (*status, text)),
        };
        let answer = format!(
            "HTTP/1.1 {status} x\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: {ttl}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{text}",
            text.len()
        );
        peer.write_all(answer.as_bytes()).await.unwrap();
    }

    async fn learned(answers: Answers) -> Result<Cloud, Unlearned> {
        ask(&client(Some(&service(answers, "21600").await))).await
    }

    fn expected() -> Cloud {
        Cloud {
            provider: "aws".into(),
            region: Some("eu-central-1".into()),
            availability_zone: Some("eu-central-1b".into()),
            account_id: Some("123456789012".into()),
            instance_id: Some("i-0123456789abcdef0".into()),
            machine_type: Some("c7g.large".into()),
            vpc_id: Some("vpc-0fedc".into()),
            image_id: Some("ami-0abc".into()),
            tags: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn a_host_learns_where_it_stands_with_a_token_only() {
        assert_eq!(learned(answers(&[])).await.unwrap(), expected());
    }

    #[tokio::test]
    async fn tags_are_learned_where_they_are_allowed() {
        let with_tags = answers(&[
            ("meta-data/tags/instance", "Name\nteam.cost:centre"),
            ("meta-data/tags/instance/Name", "web é 1"),
            ("meta-data/tags/instance/team.cost:centre", ""),
        ]);
        let tags = [("Name", "web é 1"), ("team.cost:centre", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(learned(with_tags).await.unwrap().tags, BTreeMap::from(tags));
    }

    #[tokio::test]
    async fn tags_are_never_more_than_aws_allows() {
        let keys: Vec<_> = (0..60).map(|number| format!("key{number:02}")).collect();
        let list =
            [&["..", "a/../b", "sp ace", "_index", &"k".repeat(129)], &*keys.iter().map(|k| &**k).collect::<Vec<_>>()];
        let mut many = answers(&[("meta-data/tags/instance", &list.concat().join("\n"))]);
        for key in &keys {
            let value = if key == "key00" { "v".repeat(257) } else { "v".repeat(256) };
            many.insert(format!("/latest/meta-data/tags/instance/{key}"), (200, value));
        }
        let tags = learned(many).await.unwrap().tags;
        assert_eq!(tags.keys().collect::<Vec<_>>(), keys[1..50].iter().collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_stranger_is_not_believed() {
        let document = |text: &str| answers(&[("dynamic/instance-identity/document", text)]);
        let told = async |text: &str| learned(document(text)).await.unwrap_err().to_string();
        for garbage in ["", "<html>Log in to the hotel's network</html>", "{}", "[1, 2]", r#"{"instanceId": 7}"#] {
            assert_eq!(told(garbage).await, "what answers is no instance metadata service");
        }
        assert_eq!(told(r#"{"instanceId": "i-1\n2"}"#).await, r"`i-1\n2` is no instance id");
        let odd = learned(answers(&[
            ("dynamic/instance-identity/document", r#"{"instanceId": "i-1", "region": "a b", "accountId": ""}"#),
            ("meta-data/mac", "../../x y"),
        ]));
        let plain = Cloud { provider: "aws".into(), instance_id: Some("i-1".into()), ..Cloud::default() };
        assert_eq!(odd.await.unwrap(), plain);
    }

    #[tokio::test]
    async fn an_answer_that_the_client_panics_at_is_a_failed_call() {
        for ttl in ["18446744073709551615", "soon", "-1"] {
            let url = service(answers(&[]), ttl).await;
            assert!(ask(&client(Some(&url))).await.is_err(), "{ttl}");
        }
    }

    #[tokio::test]
    async fn a_service_that_fails_half_way_is_asked_again() {
        let mut half = answers(&[]);
        half.insert("/latest/meta-data/tags/instance".into(), (500, String::new()));
        assert_eq!(learned(half).await.unwrap_err().to_string(), "the instance metadata service does not answer");
    }

    #[tokio::test]
    async fn a_slow_service_holds_nothing_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let began = tokio::time::Instant::now();
        assert!(ask(&client(Some(&url))).await.is_err());
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());

        let folder = tempfile::tempdir().unwrap();
        let (stop, told) = (CancellationToken::new(), Mutex::new(Vec::new()));
        let (imds, tell) = (client(Some(&url)), |cloud| told.lock().unwrap().push(cloud));
        let learning = learn_from(&imds, folder.path(), tell, stop.clone());
        let began = tokio::time::Instant::now();
        tokio::join!(learning, async { stop.cancel() });
        assert!(began.elapsed() < Duration::from_millis(500), "it stops when asked");
        assert!(told.into_inner().unwrap().is_empty());
    }

    #[tokio::test]
    async fn outside_ec2_it_asks_again_and_says_nothing() {
        use tracing::instrument::WithSubscriber;
        // A port where nobody listens yet.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_writer({
                let log = log.clone();
                move || log.clone()
            })
            .finish();
        let folder = tempfile::tempdir().unwrap();
        let told = Mutex::new(Vec::new());
        let imds = client(Some(&format!("http://{address}")));
        let learning = learn_from(&imds, folder.path(), |c| told.lock().unwrap().push(c), CancellationToken::new());
        let later = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let listener = TcpListener::bind(address).await.unwrap();
            let answers = Arc::new(answers(&[]));
            loop {
                let (peer, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(peer, Arc::clone(&answers), "21600"));
            }
        };
        tokio::select! {
            () = learning.with_subscriber(subscriber) => {}
            () = later => {}
        }
        assert_eq!(told.into_inner().unwrap(), [expected()]);
        assert_eq!(String::from_utf8_lossy(&log.0.lock().unwrap()), "");
        assert_eq!(kept(folder.path(), Path::new("/nowhere")), Some(expected()), "for the next start");
    }

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_learned_on_the_images_own_host_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let board = folder.path().join("board_asset_tag");
        assert_eq!(kept(folder.path(), &board), None, "nothing was learned so far");
        keep(folder.path(), &expected()).unwrap();
        assert_eq!(kept(folder.path(), &board), Some(expected()), "a host that has no such file");
        fs::write(&board, "i-0123456789abcdef0\n").unwrap();
        assert_eq!(kept(folder.path(), &board), Some(expected()));
        fs::write(&board, "i-0fffffffffffffff0\n").unwrap();
        assert_eq!(kept(folder.path(), &board), None);
    }

    #[test]
    fn a_damaged_copy_is_no_copy() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{", "null", "{\"provider\": 7}"] {
            fs::write(file(folder.path()), text).unwrap();
            assert_eq!(kept(folder.path(), Path::new("/nowhere")), None, "{text:?}");
        }
    }
}
