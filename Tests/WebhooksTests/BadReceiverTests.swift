import HTTPReceiver
import Synchronization
import Testing
import ThreadExecutor

@testable import Webhooks

@Suite("Bad receivers", .timeLimit(.minutes(1)))
struct BadReceiverTests {
    @Test("one that never answers times out")
    func silent() async throws {
        let receiver = try Receiver { connection in
            connection.waitForEnd()
            return false
        }
        let client = try Delivering.client(totalTimeout: .milliseconds(500))
        let outcome = try await client.post(Delivering.request(receiver))
        #expect(Delivering.code(outcome) == .timeout)
        #expect(outcome.duration >= .milliseconds(450))
        #expect(receiver.requests.count == 1)
    }

    @Test(
        "one that answers in drips is too slow",
        arguments: ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"])
    func slowHeader(start: String) async throws {
        let receiver = try Receiver { connection in
            connection.send(start)
            while connection.send("X-A: b\r\n") { pause(milliseconds: 40) }
            return false
        }
        let client = try Delivering.client(totalTimeout: .milliseconds(700))
        let outcome = try await client.post(Delivering.request(receiver))
        #expect(Delivering.code(outcome) == .tooSlow)
    }

    @Test("one that falls silent within its first line is too slow")
    func firstByte() async throws {
        let receiver = try Receiver { connection in
            connection.send("H")
            connection.waitForEnd()
            return false
        }
        let client = try Delivering.client(totalTimeout: .milliseconds(500))
        #expect(Delivering.code(try await client.post(Delivering.request(receiver))) == .tooSlow)
    }

    @Test("one whose body comes in drips has answered all the same")
    func slowBody() async throws {
        let receiver = try Receiver { connection in
            connection.send("HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n")
            while connection.send("a") { pause(milliseconds: 40) }
            return false
        }
        let client = try Delivering.client(totalTimeout: .milliseconds(700))
        let answer = try await client.post(Delivering.request(receiver)).result.get()
        #expect(answer.status == 202)
        #expect(answer.body.hasPrefix("a"))
        #expect(!answer.isBodyComplete)
    }

    @Test("one whose body never ends is left after a while")
    func endlessBody() async throws {
        let sent = Mutex(0)
        let receiver = try Receiver { connection in
            connection.send("HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n")
            let piece = String(repeating: "0123456789abcdef", count: 64)
            while connection.send(piece) { sent.withLock { $0 += piece.utf8.count } }
            return false
        }
        let outcome = try await Delivering.client().post(Delivering.request(receiver))
        let answer = try outcome.result.get()
        #expect(answer.status == 500)
        #expect(answer.body.utf8.count == 4_096)
        #expect(!answer.isBodyComplete)
        #expect(outcome.duration < .seconds(10))
        // What was read and what the sockets' buffers took.
        #expect(sent.withLock { $0 } < 50_000_000)
    }

    @Test("one whose header never ends is left after a while", arguments: ["HTTP/1.1 200 OK\r\n", ""])
    func endlessHeader(start: String) async throws {
        let receiver = try Receiver { connection in
            connection.send(start)
            let piece =
                start.isEmpty ? "HTTP/1.1 103 Early Hints\r\n\r\n" : "X-A: \(String(repeating: "b", count: 900))\r\n"
            while connection.send(piece) {}
            return false
        }
        let outcome = try await Delivering.client().post(Delivering.request(receiver))
        #expect(Delivering.code(outcome) == .other)
        #expect(outcome.duration < .seconds(10))
    }

    @Test(
        "one that closes without an answer, or answers nonsense, is a failure",
        arguments: ["", "HTTP/1.1 200 OK\r\nX-A", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 banana\r\n\r\n"])
    func nonsense(answer: String) async throws {
        let receiver = try Receiver { connection in
            connection.send(answer)
            return false
        }
        let outcome = try await Delivering.client().post(Delivering.request(receiver))
        #expect(Delivering.code(outcome) == .other)
    }

    @Test("one that breaks off in the body has answered all the same")
    func brokenBody() async throws {
        let receiver = try Receiver { connection in
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthan")
            return false
        }
        let answer = try await Delivering.client().post(Delivering.request(receiver)).result.get()
        #expect(answer == DeliveryAnswer(status: 200, body: "than", isBodyComplete: false))
    }

    @Test("one that is slow doesn't hold up others, and gets four deliveries at once at most")
    func slowAndQuick() async throws {
        let gate = BlockingQueue<Int>()
        let slow = try Receiver(address: "127.0.0.2") { connection in
            _ = gate.take(upTo: 1, within: 20)
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return true
        }
        let quick = try Receiver(answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        let client = try Delivering.client(totalTimeout: .seconds(30))
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for number in 0..<100 {
                let isSlow = number % 2 == 0
                let request = try isSlow ? Delivering.request(slow, address: "127.0.0.2") : Delivering.request(quick)
                group.addTask {
                    let answer = try await client.post(request).result.get()
                    #expect(answer.status == 200)
                    return isSlow
                }
            }
            for _ in 0..<50 { #expect(try await group.next() == false) }
            try await Delivering.eventually { slow.requests.count == 4 }
            #expect(slow.connections == 4)
            #expect(quick.connections <= 4)
            gate.close()
            for _ in 0..<50 { #expect(try await group.next() == true) }
        }
        #expect(slow.requests.count == 50)
        #expect(slow.connections <= 8)
    }
}
