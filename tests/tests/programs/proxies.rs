//! Proxies, between Go's net/http on both sides.

use crate::program::{
    Program,
    Reader::{CountsUnread, NeverBlocks, Splices},
};

pub const ALL: &[Program] = &[
    Program::proxy("Go io.Copy", Splices, "GODEBUG=multipathtcp=0 programs relay $LISTEN $ORIGIN").short(),
    Program::proxy("Go io.Copy, multipathtcp=2", Splices, "programs relay $LISTEN $ORIGIN"),
    Program::proxy(
        "haproxy",
        NeverBlocks,
        "SPLICE=http-keep-alive haproxy -f $SOURCES/conf/haproxy.cfg",
    ),
    Program::proxy(
        "haproxy splice-response",
        Splices,
        "SPLICE=splice-response haproxy -f $SOURCES/conf/haproxy.cfg",
    ),
    Program::proxy(
        "haproxy splice-request",
        Splices,
        "SPLICE=splice-request haproxy -f $SOURCES/conf/haproxy.cfg",
    ),
    Program::proxy("haproxy splice-auto", Splices, "SPLICE=splice-auto haproxy -f $SOURCES/conf/haproxy.cfg"),
    Program::proxy(
        "nginx",
        CountsUnread,
        "sed \"s/8080;/8083;/; s/8081;/8080;/; s/origin:8082/$ORIGIN/\" $SOURCES/conf/nginx.conf >nginx.conf
         nginx -e stderr -p $PWD/ -c nginx.conf",
    )
    // Its uploads fill buffers: only then it asks.
    .short(),
    Program::proxy(
        "Apache httpd event",
        NeverBlocks,
        "apache2 -d $PWD -f $SOURCES/conf/apache.conf -DFOREGROUND",
    ),
];
