//! TLS in front of a server of ours, with a certificate of an authority that nobody else knows.

use super::Served;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Takes connections by TLS 1.2 or 1.3, and hands on what they say.
pub struct Tls {
    served: Served,
    authority: Certificate,
}

impl Tls {
    /// In front of the server at `http://ADDRESS:PORT`.
    pub fn in_front_of(url: &str) -> Tls {
        let upstream: SocketAddr = url.trim_start_matches("http://").parse().expect("the URL names an address");
        let key = KeyPair::generate().expect("there is randomness");
        let mut of_authority = CertificateParams::default();
        of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = of_authority.self_signed(&key).expect("the parameters fit");
        let acceptor = acceptor(&Issuer::new(of_authority, key));
        let served = Served::with(move |listener| serve(listener, acceptor, upstream));
        Tls { served, authority }
    }

    /// `https://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        self.served.url.replace("http://", "https://")
    }

    /// The authority's certificate in PEM.
    pub fn authority(&self) -> String {
        self.authority.pem()
    }
}

/// Shows a certificate for 127.0.0.1.
fn acceptor(issuer: &Issuer<'_, KeyPair>) -> TlsAcceptor {
    let key = KeyPair::generate().expect("there is randomness");
    let own = CertificateParams::new(["127.0.0.1".to_owned()]).and_then(|own| own.signed_by(&key, issuer));
    let chain = vec![own.expect("the parameters fit").into()];
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()));
    TlsAcceptor::from(Arc::new(config.expect("key and certificate fit")))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, upstream: SocketAddr) {
    while let Ok((client, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // Who does not believe the certificate hangs up, which is what a test may want.
            let mut client = acceptor.accept(client).await?;
            copy_bidirectional(&mut client, &mut TcpStream::connect(upstream).await?).await
        });
    }
}
