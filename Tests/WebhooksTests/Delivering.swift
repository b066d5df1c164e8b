import HTTPReceiver
import Testing

@testable import Webhooks

/// What the tests of the client begin with.
enum Delivering {
    /// A client that may deliver to this machine's IPv4.
    static func client(
        allowing network: String = "127.0.0.0/8", totalTimeout: Duration = .seconds(15), perHost: Int = 4,
        certificateAuthorities: String? = nil
    ) throws -> HTTPDelivery {
        HTTPDelivery(
            .init(
                policy: AddressPolicy(allowing: [try #require(IPNetwork(network))]), totalTimeout: totalTimeout,
                perHost: perHost, certificateAuthorities: certificateAuthorities))
    }

    /// A target whose address was not asked about: the client must.
    static func target(_ url: String) throws -> WebhookTarget {
        let all = try ["0.0.0.0/0", "::/0"].map { try #require(IPNetwork($0)) }
        return try WebhookTarget(url, allowsHTTP: true, policy: AddressPolicy(allowing: all))
    }

    static func request(_ receiver: Receiver, address: String = "127.0.0.1") throws -> DeliveryRequest {
        try DeliveryRequest(target: target("http://\(address):\(receiver.port)/"), body: Array("{}".utf8))
    }

    static func code(_ outcome: DeliveryOutcome) -> DeliveryFailure.Code? {
        guard case .failure(let failure) = outcome.result else { return nil }
        return failure.code
    }

    /// Waits until `condition` holds, 15 s at most.
    static func eventually(_ condition: () -> Bool) async throws {
        for _ in 0..<1_500 {
            if condition() { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        Issue.record("still not so after 15 s")
    }
}
