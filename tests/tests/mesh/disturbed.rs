//! The proxy of the node dies, comes again, is doubled; pods leave the mesh and come back: under load, and
//! applications see what they see without shunt.

use super::{
    SERVICE,
    crowd::{Crowd, Order, Tally, echo},
    enrol,
};
use crate::{dnat::Dnat, scale::scaled};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::net::SocketAddrV4;
use tests::{
    ambient,
    leg::Leg,
    node::Node,
    pod::Pod,
    relay::{Relay, Routes},
    traffic::PORT,
};

/// How many messages at a time come back between two disturbances.
const SOME: u64 = 1000;

pub fn errors_are_those_without_shunt() -> Result<()> {
    let mut node = Node::learning("disturbed")?;
    // A proxy that comes anew is known at once, as where the configuration names it.
    node.conf.insert("trustedPrograms".into(), json!(["ztunnel"]));
    let (plain, _) = story(&node, Node::outside).context("without shunt")?;
    let strange = |tally: &Tally| tally.keys().any(|what| what == "hangs" || what == "wrong bytes");
    ensure!(!plain.iter().any(|(_, tally)| strange(tally)), "without shunt: {plain:#?}");
    let (with, by_short_way) = story(&node, Node::pod)?;
    ensure!(by_short_way > 0.25, "{by_short_way} took the short way");
    ensure!(plain == with, "without shunt: {plain:#?}\nwith it: {with:#?}");
    Ok(())
}

/// What happened to the clients, by chapter; what share of answers took the short way by the last proxy.
fn story(
    node: &Node,
    pod: fn(&Node, &str) -> Result<Pod>,
) -> Result<(Vec<(&'static str, Tally)>, f64)> {
    let [proxy, client, server] =
        [pod(node, "ztunnel")?, pod(node, "client")?, pod(node, "server")?];
    let pods = [&client, &server];
    let to = SocketAddrV4::new(server.ipv4, PORT);
    let _dnat = Dnat::open(SERVICE, to)?;
    let routes = Routes { services: [(SERVICE, to)].into(), ..Routes::default() };
    let relay = || -> Result<Relay> {
        let relay = Relay::start(&proxy, &routes)?;
        pods.iter().try_for_each(|pod| relay.enrol(pod))?;
        Ok(relay)
    };
    let some = scaled(24).clamp(4, 24) as usize;
    let load = scaled(2).max(1);
    let _echo = echo(&server, PORT)?;
    let crowd = Crowd::start(&client, SERVICE)?;
    let mut story = Vec::new();
    let mut tell = |chapter, order| -> Result<()> {
        story.push((chapter, crowd.tell(order).context(chapter)?));
        if matches!(order, Order::Grow(_) | Order::Connect) {
            for _ in 0..load {
                crowd.tell(Order::Talk(SOME)).context(chapter)?;
            }
        }
        Ok(())
    };

    let first = Relay::start(&proxy, &routes)?;
    pods.iter().try_for_each(|pod| enrol(pod, &[&first]))?;
    tell("they come", Order::Grow(some))?;
    drop(first);
    tell("the proxy is killed", Order::Lose(some))?;
    tell("there is none", Order::Connect)?;
    let second = relay()?;
    tell("another starts", Order::Connect)?;
    let third = relay()?;
    second.drain()?;
    tell("a third takes over", Order::Grow(some))?;
    drop(second);
    tell("the second is killed", Order::Lose(some))?;
    tell("the third is there", Order::Connect)?;
    for pod in pods {
        third.release(pod)?;
        ambient::release(pod)?;
    }
    tell("the pods leave the mesh", Order::Lose(2 * some))?;
    tell("by the Service's address", Order::Connect)?;
    // Connection tracking begins with the rules, and takes what it meets in mid-stream for new.
    tell("they go, and the pods come back", Order::End)?;
    pods.iter().try_for_each(|pod| enrol(pod, &[&third]))?;
    tell("by the proxy again", Order::Connect)?;
    tell("they go", Order::End)?;
    let [by_short_way, _] = Leg::sum(&third.end()?, "application to relay").shares();
    Ok((story, by_short_way))
}
