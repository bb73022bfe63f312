package main

import (
	"io"
	"net"
)

// relay passes connections on with io.Copy, which splices: `relay :8080 IP:8081`.
func relay(args ...string) error {
	listener, err := net.Listen("tcp", args[0])
	for err == nil {
		var accepted net.Conn
		if accepted, err = listener.Accept(); err == nil {
			go pass(accepted.(*net.TCPConn), args[1])
		}
	}
	return err
}

func pass(accepted *net.TCPConn, to string) {
	defer accepted.Close()
	dialled, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer dialled.Close()
	go func() {
		io.Copy(dialled, accepted)
		dialled.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(accepted, dialled)
}
