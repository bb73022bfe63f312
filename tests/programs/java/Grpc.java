package programs;

import io.grpc.CallOptions;
import io.grpc.HandlerRegistry;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.Marshaller;
import io.grpc.ServerMethodDefinition;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.concurrent.SynchronousQueue;

/** Messages of bytes, given back: {@code Grpc serve PORT} and {@code Grpc ask IP PORT FILE…}. */
class Grpc {
    static final Marshaller<byte[]> RAW = new Marshaller<>() {
        public InputStream stream(byte[] message) {
            return new ByteArrayInputStream(message);
        }

        public byte[] parse(InputStream stream) {
            try {
                return stream.readAllBytes();
            } catch (IOException e) {
                throw new RuntimeException(e);
            }
        }
    };

    static MethodDescriptor<byte[], byte[]> method(String name, MethodDescriptor.MethodType type) {
        return MethodDescriptor.newBuilder(RAW, RAW).setType(type).setFullMethodName(name).build();
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("serve")) serve(Integer.parseInt(args[1]));
        else ask(args);
    }

    static void serve(int port) throws Exception {
        var echo = ServerCalls.<byte[], byte[]>asyncBidiStreamingCall(out -> new StreamObserver<>() {
            public void onNext(byte[] message) {
                out.onNext(message);
            }

            public void onError(Throwable e) {}

            public void onCompleted() {
                out.onCompleted();
            }
        });
        var all = new HandlerRegistry() {
            public ServerMethodDefinition<?, ?> lookupMethod(String name, String authority) {
                return ServerMethodDefinition.create(method(name, MethodDescriptor.MethodType.BIDI_STREAMING), echo);
            }
        };
        NettyServerBuilder.forPort(port).fallbackHandlerRegistry(all).build().start().awaitTermination();
    }

    static void ask(String[] args) throws Exception {
        // By name it would ask a resolver that is not there.
        var to = new InetSocketAddress(args[1], Integer.parseInt(args[2]));
        var channel = NettyChannelBuilder.forAddress(to).usePlaintext().build();
        for (int i = 3; i < args.length; i++) {
            var call = method("programs/Call", MethodDescriptor.MethodType.UNARY);
            var file = Files.readAllBytes(Path.of(args[i]));
            say(args[i], ClientCalls.blockingUnaryCall(channel, call, CallOptions.DEFAULT, file));
        }
        var answers = new SynchronousQueue<byte[]>();
        var call = channel.newCall(method("programs/Stream", MethodDescriptor.MethodType.BIDI_STREAMING), CallOptions.DEFAULT);
        var stream = ClientCalls.asyncBidiStreamingCall(call, new StreamObserver<byte[]>() {
            public void onNext(byte[] answer) {
                try {
                    answers.put(answer);
                } catch (InterruptedException e) {
                    throw new RuntimeException(e);
                }
            }

            public void onError(Throwable e) {
                e.printStackTrace();
                System.exit(1);
            }

            public void onCompleted() {}
        });
        for (int i = 3; i < args.length; i++) {
            stream.onNext(Files.readAllBytes(Path.of(args[i])));
            say(args[i], answers.take());
        }
        System.exit(0);
    }

    static void say(String item, byte[] answer) throws Exception {
        var sum = MessageDigest.getInstance("SHA-256").digest(answer);
        System.out.println(item + " " + answer.length + " " + HexFormat.of().formatHex(sum));
    }
}
