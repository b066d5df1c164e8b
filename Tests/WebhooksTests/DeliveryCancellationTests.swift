import HTTPReceiver
import Testing
import ThreadExecutor

@testable import Webhooks

@Suite("Cancelled deliveries", .timeLimit(.minutes(1)))
struct DeliveryCancellationTests {
    @Test("a cancelled task gets its outcome at once, under way or waiting, and its place goes to the next")
    func cancelled() async throws {
        let receiver = try Self.silent()
        let client = try Delivering.client(totalTimeout: .seconds(30), perHost: 1)
        let request = try Delivering.request(receiver)
        let first = Task { await client.post(request) }
        try await Delivering.eventually { receiver.requests.count == 1 }
        let second = Task { await client.post(request) }
        let third = Task { await client.post(request) }

        second.cancel()
        #expect(Delivering.code(await second.value) == .cancelled)
        #expect(receiver.requests.count == 1)
        first.cancel()
        #expect(Delivering.code(await first.value) == .cancelled)
        try await Delivering.eventually { receiver.requests.count == 2 }
        third.cancel()
        #expect(Delivering.code(await third.value) == .cancelled)
    }

    @Test("a task that was cancelled before it posts gets its outcome too")
    func cancelledBefore() async throws {
        let receiver = try Self.silent()
        let client = try Delivering.client(totalTimeout: .seconds(30))
        let request = try Delivering.request(receiver)
        let task = Task {
            while !Task.isCancelled { await Task.yield() }
            return await client.post(request)
        }
        task.cancel()
        #expect(Delivering.code(await task.value) == .cancelled)
    }

    @Test("many cancellations at every moment leave nobody without an outcome")
    func storm() async throws {
        let receiver = try Receiver(answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        let client = try Delivering.client()
        let request = try Delivering.request(receiver)
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<300 {
                group.addTask {
                    let task = Task { await client.post(request) }
                    for _ in 0..<(number % 50) { await Task.yield() }
                    task.cancel()
                    let outcome = await task.value
                    let status = (try? outcome.result.get())?.status
                    #expect(Delivering.code(outcome) == .cancelled || status == 200)
                }
            }
        }
        #expect(try await client.post(request).result.get().status == 200)
    }

    @Test("closing the client ends what is under way, what waits, and what comes later")
    func closed() async throws {
        let receiver = try Self.silent()
        let client = try Delivering.client(totalTimeout: .seconds(30), perHost: 1)
        let request = try Delivering.request(receiver)
        async let first = client.post(request)
        async let second = client.post(request)
        try await Delivering.eventually { receiver.requests.count == 1 }
        client.close()
        #expect(Delivering.code(await first) == .cancelled)
        #expect(Delivering.code(await second) == .cancelled)
        #expect(Delivering.code(await client.post(request)) == .cancelled)
    }

    private static func silent() throws -> Receiver {
        try Receiver { connection in
            connection.waitForEnd()
            return false
        }
    }
}
