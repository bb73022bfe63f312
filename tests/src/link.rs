//! Links, addresses and routes of the network namespace that the caller is in, by rtnetlink(7).

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use ipnetwork::IpNetwork;
use rtnetlink::{
    Handle, LinkUnspec, RouteMessageBuilder, new_connection,
    packet_route::{
        AddressFamily,
        route::{RouteMessage, RouteScope, RouteType},
        rule::{RuleAction, RuleAttribute, RuleMessage},
    },
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::runtime::Builder;

/// # Errors
/// No such link, or the kernel refuses.
pub fn up(name: &str) -> Result<()> {
    change(async |handle| {
        let up = LinkUnspec::new_with_name(name).up().build();
        Ok(handle.link().set(up).execute().await?)
    })
    .with_context(|| format!("{name} up"))
}

/// # Errors
/// No such link, or the kernel refuses.
pub fn delete(name: &str) -> Result<()> {
    let delete = async |handle| {
        let index = index(&handle, name).await?;
        Ok(handle.link().del(index).execute().await?)
    };
    change(delete).with_context(|| format!("delete {name}"))
}

/// One that is there stays.
///
/// # Errors
/// No such link, or the kernel refuses.
pub fn add_address(name: &str, address: IpNetwork) -> Result<()> {
    let add = async |handle| {
        let index = index(&handle, name).await?;
        let add = handle.address().add(index, address.ip(), address.prefix());
        Ok(add.replace().execute().await?)
    };
    change(add).with_context(|| format!("{address} for {name}"))
}

/// What carries a mark is for this network namespace, whatever its address: as TPROXY and proxies of the node need it.
#[derive(Clone, Copy)]
pub struct Local {
    pub mark: u32,
    pub mask: u32,
    /// Of its own.
    pub table: u32,
    pub v6: bool,
}

impl Local {
    /// # Errors
    /// The kernel refuses.
    pub fn add(self) -> Result<()> {
        let add = async |handle: Handle| {
            let mut rule = handle.rule().add();
            *rule.message_mut() = self.rule();
            rule.execute().await?;
            Ok(handle.route().add(self.route(&handle).await?).execute().await?)
        };
        change(add).context("what is marked for this namespace")
    }

    /// # Errors
    /// Nothing is there.
    pub fn delete(self) -> Result<()> {
        let delete = async |handle: Handle| {
            handle.rule().del(self.rule()).execute().await?;
            Ok(handle.route().del(self.route(&handle).await?).execute().await?)
        };
        change(delete).context("what is marked for this namespace")
    }

    fn rule(self) -> RuleMessage {
        let mut rule = RuleMessage::default();
        rule.header.family = if self.v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        rule.header.action = RuleAction::ToTable;
        rule.attributes = vec![
            RuleAttribute::FwMark(self.mark),
            RuleAttribute::FwMask(self.mask),
            RuleAttribute::Table(self.table),
        ];
        rule
    }

    async fn route(self, handle: &Handle) -> Result<RouteMessage> {
        let any: IpAddr =
            if self.v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let route = RouteMessageBuilder::<IpAddr>::new().destination_prefix(any, 0)?;
        let route = route.output_interface(index(handle, "lo").await?).table_id(self.table);
        Ok(route.kind(RouteType::Local).scope(RouteScope::Host).build())
    }
}

async fn index(handle: &Handle, name: &str) -> Result<u32> {
    let mut links = handle.link().get().match_name(name).execute();
    Ok(links.try_next().await?.context("no such link")?.header.index)
}

fn change(change: impl AsyncFnOnce(Handle) -> Result<()>) -> Result<()> {
    Builder::new_current_thread().enable_io().build()?.block_on(async {
        let (connection, handle, _) = new_connection()?;
        tokio::spawn(connection);
        change(handle).await
    })
}
