import Database
import Foundation
import Records
import Tenancy

/// One event of a stream.
package struct StreamEvent: Sendable {
    package let id: String?
    package let name: String
    package let data: JSONValue
}

/// A client that holds a stream of events open: curl, since nothing else on Linux gives a body as it comes.
package final class EventStream: Sendable {
    private let process: TestProcess

    /// Opens the stream of `client` at `path`.
    package init(_ client: HTTPClient, _ path: String = "/v1/events", lastID: String? = nil) async throws {
        var arguments = ["-sNi", "--max-time", "120", "-H", "Authorization: Bearer \(client.token ?? "")"]
        if let lastID { arguments += ["-H", "Last-Event-ID: \(lastID)"] }
        process = try TestProcess(URL(filePath: "/usr/bin/curl"), arguments + [client.base + path])
        try await eventually("the stream answers") { [process] in
            process.text.contains("\r\n\r\n") || !process.isRunning
        }
    }

    /// All that came, the answer's head included.
    package var text: String { process.text }
    package var status: Int { Int(text.split(separator: " ").dropFirst().first ?? "") ?? 0 }
    /// False once the service has ended it; its last words may still be on their way to `text`.
    package var isOpen: Bool { process.isRunning }

    /// The events that have come so far.
    package var events: [StreamEvent] {
        text.components(separatedBy: "\n\n").compactMap { block in
            var (id, name, data): (String?, String?, String?) = (nil, nil, nil)
            for line in block.split(separator: "\n") {
                if line.hasPrefix("id: ") { id = String(line.dropFirst(4)) }
                if line.hasPrefix("event: ") { name = String(line.dropFirst(7)) }
                if line.hasPrefix("data: ") { data = String(line.dropFirst(6)) }
            }
            guard let name, let data, let json = try? JSONParser.parse(data.utf8) else { return nil }
            return StreamEvent(id: id, name: name, data: json)
        }
    }

    /// Those of a name.
    package func events(_ name: String) -> [StreamEvent] { events.filter { $0.name == name } }
    /// What to send to be told what comes after.
    package var lastID: String? { events.last { $0.id != nil }?.id }

    /// Waits until so many events of a name have come.
    @discardableResult
    package func wait(_ name: String, _ count: Int = 1, within seconds: Double = 30) async throws -> [StreamEvent] {
        try await eventually(within: seconds, "\(count) \(name), had: \(events.map(\.name))") {
            self.events(name).count >= count
        }
        return events(name)
    }

    /// Goes away.
    package func close() async throws { try await process.crash() }
}

extension TestPlatform {
    /// A user of the tenant, and a client of `service` with a key that acts for them.
    package func user(
        _ name: String, of tenant: TenantID, roles: [String] = ["agent"], service: String = "contacts"
    ) async throws -> (id: UUID, client: HTTPClient) {
        let directory = TenantDirectory(owner: owner)
        let id = try await directory.createUser(
            tenant: tenant, email: "\(name)@example.com", name: name, password: "long enough 1", roles: roles)
        let key = try await directory.createKey(tenant: tenant, name: name, roles: roles, user: id)
        return (id, client(service, token: key.text))
    }
}
