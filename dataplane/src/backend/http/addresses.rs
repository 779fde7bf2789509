//! Where a backend's name may lead: never to link-local or cloud metadata addresses, unless the file allows them.
//!
//! A name is looked up once, and what was judged is what is connected to: a second answer of the name server can't
//! slip in between (DNS rebinding). Private networks are where backends live, and are not refused.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use ipnet::IpNet;
use tower::Service;

/// What giving out credentials is the business of, outside the link-local networks.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// The networks that this backend may be on though they are refused otherwise.
#[derive(Clone, Debug, Default)]
pub struct Allowed(Arc<[IpNet]>);

impl Allowed {
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Errors: a sentence that says which address it is and what would allow it.
    pub fn judge(&self, address: IpAddr) -> Result<(), String> {
        // `::ffff:169.254.169.254` is the same place.
        let address = address.to_canonical();
        let what = match address {
            _ if METADATA.contains(&address) => "the metadata address of a cloud",
            IpAddr::V4(v4) if v4.is_link_local() => "a link-local address, where clouds keep their metadata",
            IpAddr::V6(v6) if v6.is_unicast_link_local() => "a link-local address",
            _ => return Ok(()),
        };
        if self.0.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        Err(format!("{address} is {what}; allowed_addresses = [\"{address}\"] would let this backend be there"))
    }

    /// The same for the host of a URL; a name is judged when it is looked up.
    pub fn judge_host(&self, host: &str) -> Result<(), String> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse().map_or(Ok(()), |address| self.judge(address))
    }
}

/// The system's resolver, without what is not allowed.
#[derive(Clone, Debug)]
pub(super) struct Judging<R = GaiResolver> {
    resolver: R,
    allowed: Allowed,
}

impl Judging {
    pub(super) fn new(allowed: Allowed) -> Self {
        Self { resolver: GaiResolver::new(), allowed }
    }
}

impl<R> Service<Name> for Judging<R>
where
    R: Service<Name, Error = io::Error>,
    R::Response: Iterator<Item = SocketAddr>,
    R::Future: Send + 'static,
{
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.resolver.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (found, allowed) = (self.resolver.call(name), self.allowed.clone());
        Box::pin(async move {
            let mut refused = None;
            let mut good = Vec::new();
            for address in found.await? {
                match allowed.judge(address.ip()) {
                    Ok(()) => good.push(address),
                    Err(why) => refused = Some(why),
                }
            }
            match refused {
                Some(why) if good.is_empty() => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
                _ => Ok(good.into_iter()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(networks: &[&str]) -> Allowed {
        Allowed::new(networks.iter().map(|network| network.parse::<IpNet>().unwrap()))
    }

    fn found(
        addresses: &[&str],
        networks: &[&str],
    ) -> Judging<impl Service<Name, Response = vec::IntoIter<SocketAddr>, Error = io::Error, Future: Send + 'static>>
    {
        let addresses: Vec<SocketAddr> =
            addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 80)).collect();
        let resolver = tower::service_fn(move |_: Name| std::future::ready(Ok(addresses.clone().into_iter())));
        Judging { resolver, allowed: allowed(networks) }
    }

    #[test]
    fn link_local_and_metadata_addresses_are_refused_in_every_spelling_and_others_are_not() {
        let none = Allowed::default();
        for refused in
            ["169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200"]
        {
            assert!(none.judge(refused.parse().unwrap()).is_err(), "{refused}");
        }
        for good in ["127.0.0.1", "10.0.0.7", "192.168.1.1", "fd00::1", "::1", "93.184.216.34", "100.64.0.1"] {
            assert_eq!(none.judge(good.parse().unwrap()), Ok(()), "{good}");
        }
        assert!(none.judge_host("[fe80::1]").is_err());
        assert_eq!(none.judge_host("metadata.google.internal"), Ok(()), "judged when it is looked up");
    }

    #[test]
    fn what_the_file_allows_is_let_through_and_nothing_beside_it() {
        let some = allowed(&["169.254.10.0/24"]);
        assert_eq!(some.judge("169.254.10.3".parse().unwrap()), Ok(()));
        assert!(some.judge("169.254.169.254".parse().unwrap()).is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_there_is_refused_and_of_several_addresses_the_good_ones_are_taken() {
        let name = || "backend.example".parse::<Name>().unwrap();
        let fault = found(&["169.254.169.254"], &[]).call(name()).await.unwrap_err();
        assert!(fault.to_string().contains("169.254.169.254"), "{fault}");
        let mixed: Vec<_> = found(&["169.254.169.254", "10.0.0.7"], &[]).call(name()).await.unwrap().collect();
        assert_eq!(mixed, ["10.0.0.7:80".parse().unwrap()]);
        assert_eq!(found(&["169.254.169.254"], &["169.254.0.0/16"]).call(name()).await.unwrap().count(), 1);
    }
}
