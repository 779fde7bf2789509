//! The control plane's rpc as `sentinelctl` speaks it, for questions by the thousand.

use sentinel_proto::v1::admin_service_client::AdminServiceClient;
use sentinel_proto::v1::{ExplainAsk, ExplainAskRequest, ExplainedAsk, KillRequest, Scope};
use sentinel_tests::harness::fleet::Fleet;
use tokio::net::UnixStream;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

pub(crate) struct Rpc {
    client: AdminServiceClient<Channel>,
    token: String,
}

impl Rpc {
    pub(crate) async fn of(fleet: &Fleet) -> Self {
        let home = fleet.folder().join("control");
        let token = std::fs::read_to_string(home.join("admin.token")).unwrap().trim().to_owned();
        let path = home.join("controlplane/grpc.sock");
        let connector = tower::service_fn(move |_: tonic::transport::Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap();
        let client = AdminServiceClient::new(channel)
            .max_decoding_message_size(sentinel_proto::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(sentinel_proto::MAX_MESSAGE_BYTES);
        Self { client, token }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().unwrap();
        let _was = request.metadata_mut().insert("authorization", bearer);
        request
    }

    pub(crate) async fn explain(&mut self, asks: Vec<ExplainAsk>) -> Vec<ExplainedAsk> {
        let request = self.request(ExplainAskRequest { asks, plane: String::new() });
        self.client.explain_ask(request).await.unwrap().into_inner().asks
    }

    pub(crate) async fn switch(&mut self, scope: Scope, name: &str, lift: bool) {
        let kill = KillRequest { scope: scope.into(), name: name.into(), lift, force: true, ..KillRequest::default() };
        let request = self.request(kill);
        let reply = self.client.kill(request).await.unwrap().into_inner();
        assert!(reply.complete, "{reply:?}");
    }
}
