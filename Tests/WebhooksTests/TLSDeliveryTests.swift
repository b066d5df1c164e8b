import Foundation
import HTTPReceiver
import Processes
import Testing

@testable import Webhooks

/// Certificates are made with the openssl tool, the receiver is Python's: without both there is nothing to test with.
@Suite("Deliveries over TLS", .timeLimit(.minutes(1)), .enabled(if: TLSReceiver.isPossible))
struct TLSDeliveryTests {
    @Test("a certificate counts only from an authority that is trusted, and only for its host")
    func certificates() async throws {
        let receiver = try TLSReceiver()
        let trusting = try Delivering.client(certificateAuthorities: receiver.certificate)
        let delivered = try await trusting.post(receiver.request(host: "localhost"))
        #expect(try delivered.result.get() == DeliveryAnswer(status: 200, body: "thanks"))

        let wrongHost = try await trusting.post(receiver.request(host: "127.0.0.1"))
        #expect(Delivering.code(wrongHost) == .tls)

        let untrusted = try await Delivering.client().post(receiver.request(host: "localhost"))
        #expect(Delivering.code(untrusted) == .tls)

        let missing = try await Delivering.client(certificateAuthorities: receiver.certificate + ".missing")
            .post(receiver.request(host: "localhost"))
        #expect(Delivering.code(missing) == .tls)
    }
}

/// A receiver with a certificate of its own making for `localhost`, a process that ends with it.
private final class TLSReceiver {
    static let isPossible = tool("python3") != nil && tool("openssl") != nil

    let certificate: String
    private let folder: URL
    private let process: ChildProcess
    private let port: Int

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "webhooks-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        certificate = folder.appending(path: "certificate.pem").path
        let key = folder.appending(path: "key.pem").path
        let environment = ProcessInfo.processInfo.environment
        let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
        let openssl = try ChildProcess(
            #require(Self.tool("openssl")),
            request.split(separator: " ").map(String.init) + [
                "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate,
            ], environment: environment, errors: .discarded)
        try #require(openssl.wait() == .exit(0))

        let output = folder.appending(path: "port")
        process = try ChildProcess(
            #require(Self.tool("python3")), ["-u", "-c", Self.program, certificate, key], environment: environment,
            output: .file(output.path), errors: .discarded)
        var line = ""
        while !line.hasSuffix("\n") {
            try #require(process.ending == nil, "the receiver ended before it listened")
            usleep(20_000)
            line = (try? String(contentsOf: output, encoding: .utf8)) ?? ""
        }
        port = try #require(Int(line.dropLast()))
    }

    deinit {
        process.signal(SIGKILL)
        process.wait()
        try? FileManager.default.removeItem(at: folder)
    }

    func request(host: String) throws -> DeliveryRequest {
        try DeliveryRequest(target: Delivering.target("https://\(host):\(port)/"), body: Array("{}".utf8))
    }

    private static func tool(_ name: String) -> String? {
        (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
            .map { "\($0)/\(name)" }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    private static let program = """
        import http.server, os, ssl, sys, threading, time
        # Ends at the latest with the process that started it.
        def watch(parent):
            while os.getppid() == parent: time.sleep(0.5)
            os._exit(0)
        threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", "6")
                self.end_headers()
                self.wfile.write(b"thanks")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
        server.socket = context.wrap_socket(server.socket, server_side=True)
        print(server.server_address[1])
        server.serve_forever()
        """
}
