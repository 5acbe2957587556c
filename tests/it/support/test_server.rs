//! A gateway in this process, on a thread of its own, in front of fake vendors.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;

use records_gateway::app::Application;
use records_gateway::sandbox::Sandbox;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{TestClient, TestConfig};

/// A running gateway. It stops when this is dropped.
pub(crate) struct TestGateway {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<bool>>,
}

impl TestGateway {
    fn start(config: &TestConfig) -> Self {
        let config = config.parse();
        let (started, start) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let application = Application::build(&config).await.unwrap();
                started.send(application.address()).unwrap();
                application.run(async move { drop(stopped.await) }).await
            })
        });
        Self { address: start.recv().expect("a gateway that starts"), stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn client(&self) -> TestClient {
        TestClient::new(format!("http://{}", self.address))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it and waits for its end. Returns whether every write was finished.
    pub(crate) async fn stop(mut self) -> bool {
        drop(self.stop.take());
        let thread = self.thread.take().unwrap();
        actix_web::rt::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap()
    }
}

/// A gateway with fake vendors and a store of its own.
pub(crate) struct TestServer {
    pub(crate) vendors: Sandbox,
    gateway: Option<TestGateway>,
    config: TestConfig,
    folder: TempDir,
}

impl TestServer {
    /// With one worker, and with what the closure changes.
    pub(crate) fn start_with(configure: impl FnOnce(TestConfig) -> TestConfig) -> Self {
        let (vendors, folder) = (Sandbox::start().expect("fake vendors"), tempfile::tempdir().expect("a folder"));
        let config = TestConfig::new(&vendors, folder.path()).server("workers", 1).server("shutdown_timeout", "2s");
        let config = configure(config);
        Self { gateway: Some(TestGateway::start(&config)), vendors, config, folder }
    }

    /// A client with connections of its own.
    pub(crate) fn client(&self) -> TestClient {
        self.gateway.as_ref().unwrap().client()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.as_ref().unwrap().address()
    }

    /// Another gateway in front of the same vendors, with a store of its own.
    pub(crate) fn start_second_gateway(&self) -> TestGateway {
        TestGateway::start(&self.config.clone().sqlite(&self.folder.path().join("second.db")))
    }

    /// A replica: another gateway in front of the same vendors, on the same PostgreSQL store.
    pub(crate) fn start_replica(&self) -> TestGateway {
        TestGateway::start(&self.config)
    }

    /// Stops the gateway and starts another on the same store.
    pub(crate) async fn restart(&mut self) {
        self.gateway.take().unwrap().stop().await;
        self.gateway = Some(TestGateway::start(&self.config));
    }

    /// The same, with what the closure changes in the configuration.
    pub(crate) async fn restart_with(&mut self, configure: impl FnOnce(TestConfig) -> TestConfig) {
        self.config = configure(self.config.clone());
        self.restart().await;
    }

    /// The same, with other fake vendors behind the systems' names. Returns the former ones.
    pub(crate) async fn restart_with_vendors(&mut self, vendors: Sandbox) -> Sandbox {
        self.config = self.config.clone().vendors(&vendors);
        let former = std::mem::replace(&mut self.vendors, vendors);
        self.restart().await;
        former
    }
}
