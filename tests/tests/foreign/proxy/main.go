// Passes connections to its port on to another address, with io.Copy both ways: that splices. Without such an
// address to that of a CONNECT.
package main

import (
	"io"
	"net"
	"os"
)

func pass(from, to net.Conn) {
	io.Copy(to, from)
	to.(*net.TCPConn).CloseWrite()
}

func main() {
	if len(os.Args) == 2 {
		panic(serveTunnels(os.Args[1]))
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	for {
		down, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			up, err := net.Dial("tcp", os.Args[2])
			if err != nil {
				panic(err)
			}
			go pass(down, up)
			pass(up, down)
		}()
	}
}
