import Tracing

extension SpanExporter {
    /// Where spans go, and what is said about who sends them.
    package struct Settings: Sendable {
        /// The address that spans are sent to, with the path `/v1/traces`.
        let url: String
        let headers: [(String, String)]
        let sampleRatio: Double
        let resource: BoundedAttributes
        let certificateAuthorities: String?

        /// - Parameters:
        ///   - endpoint: the collector's base address such as `http://127.0.0.1:4318`, http or https. `/v1/traces` is
        ///     appended to its path, as OpenTelemetry says for `OTEL_EXPORTER_OTLP_ENDPOINT`.
        ///   - headers: sent with every request, such as for authentication; see `headers(from:)`.
        ///   - sampleRatio: the share of traces begun here that are recorded, 0 to 1. Where a trace has come with a
        ///     request, its sender's decision counts.
        ///   - resource: what sends the spans; `service.name` is needed.
        ///   - certificateAuthorities: a file of certificates (PEM) to trust instead of the system's.
        /// - Throws: the setting that can't be used, and why.
        package init(
            endpoint: String, headers: [(String, String)] = [], sampleRatio: Double = 1, resource: SpanAttributes,
            certificateAuthorities: String? = nil
        ) throws(SettingsError) {
            url = try CollectorAddress.url(endpoint: endpoint)
            for header in headers { try Self.check(header) }
            guard (0...1).contains(sampleRatio) else {
                throw SettingsError(setting: "sampleRatio", reason: "\(sampleRatio) is not between 0 and 1")
            }
            guard case .string(let name) = resource.get("service.name"), !name.isEmpty else {
                throw SettingsError(setting: "resource", reason: "service.name is missing")
            }
            self.headers = headers
            self.sampleRatio = sampleRatio
            self.resource = BoundedAttributes(resource)
            self.certificateAuthorities = certificateAuthorities
        }

        /// Values are never part of an error: they may be secret.
        private static func check(_ header: (String, String)) throws(SettingsError) {
            let (name, value) = header
            guard !name.isEmpty, name.utf8.allSatisfy(isTokenCharacter) else {
                throw SettingsError(setting: "headers", reason: "\"\(name)\" is not a name of a header field")
            }
            guard value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f || $0 == 0x09 }) else {
                throw SettingsError(setting: "headers", reason: "the value of \(name) has control characters")
            }
            if ["content-type", "content-length", "transfer-encoding", "host"].contains(name.lowercased()) {
                throw SettingsError(setting: "headers", reason: "\(name) is not for the settings to say")
            }
        }

        /// Source: RFC 9110, section 5.6.2.
        private static func isTokenCharacter(_ byte: UInt8) -> Bool {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
            default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
        }
    }

    /// A setting that can't be used, and why.
    package struct SettingsError: Error, Hashable, CustomStringConvertible {
        /// The name of the parameter.
        package let setting: String
        /// What is wrong with it, without values that may be secret.
        package let reason: String

        /// Both, for whoever starts the service.
        package var description: String { "\(setting): \(reason)" }
    }
}
