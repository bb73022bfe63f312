package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// raw takes messages as they are, so that nothing is to be generated.
type raw struct{}

func (raw) Name() string { return "raw" }
func (raw) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(message.([]byte))}, nil
}
func (raw) Unmarshal(data mem.BufferSlice, message any) error {
	*message.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = raw{}

// grpcServe gives back each message of a call: `grpc-serve :8080`.
func grpcServe(args ...string) error {
	listener, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	echo := func(_ any, stream grpc.ServerStream) error {
		for {
			var message []byte
			if stream.RecvMsg(&message) != nil {
				return nil
			}
			if err := stream.SendMsg(message); err != nil {
				return err
			}
		}
	}
	return grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(echo)).Serve(listener)
}

// grpcAsk sends files by calls of their own and then by one stream: `grpc-ask IP:8080 FILE…`.
func grpcAsk(args ...string) error {
	channel, err := grpc.NewClient(args[0], grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})))
	if err != nil {
		return err
	}
	said := func(item string, answer []byte) { fmt.Printf("%s %d %x\n", item, len(answer), sha256.Sum256(answer)) }
	var answer []byte
	for _, item := range args[1:] {
		file, _ := os.ReadFile(item)
		if err := channel.Invoke(context.Background(), "/programs/Call", file, &answer); err != nil {
			return err
		}
		said(item, answer)
	}
	stream, err := channel.NewStream(context.Background(),
		&grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/programs/Stream")
	for _, item := range args[1:] {
		file, _ := os.ReadFile(item)
		if err == nil {
			err = stream.SendMsg(file)
		}
		if err == nil {
			err = stream.RecvMsg(&answer)
		}
		if err != nil {
			return err
		}
		said(item, answer)
	}
	return stream.CloseSend()
}
