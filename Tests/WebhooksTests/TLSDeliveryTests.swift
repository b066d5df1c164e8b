import Foundation
import HTTPReceiver
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
    private let process = Process()
    private let input = Pipe()
    private let port: Int

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "webhooks-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        certificate = folder.appending(path: "certificate.pem").path
        let key = folder.appending(path: "key.pem").path
        let openssl = Process()
        openssl.executableURL = Self.tool("openssl")
        openssl.arguments =
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost".split(
                separator: " "
            ).map(String.init) + ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
        openssl.standardError = FileHandle.nullDevice
        try openssl.run()
        openssl.waitUntilExit()

        let output = Pipe()
        process.executableURL = Self.tool("python3")
        process.arguments = ["-u", "-c", Self.program, certificate, key]
        process.standardInput = input
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
        port = try #require(Int(line.trimmingCharacters(in: .whitespacesAndNewlines)))
    }

    deinit {
        try? input.fileHandleForWriting.close()
        try? FileManager.default.removeItem(at: folder)
    }

    func request(host: String) throws -> DeliveryRequest {
        try DeliveryRequest(target: Delivering.target("https://\(host):\(port)/"), body: Array("{}".utf8))
    }

    private static func tool(_ name: String) -> URL? {
        (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
            .map { URL(filePath: String($0)).appending(path: name) }
            .first { FileManager.default.isExecutableFile(atPath: $0.path) }
    }

    private static let program = """
        import http.server, os, ssl, sys, threading
        # Ends when its standard input does: at the latest with the process that started it.
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
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
