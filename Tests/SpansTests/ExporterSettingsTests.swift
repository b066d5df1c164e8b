import Testing
import Tracing

@testable import Spans

@Suite("Span exporter's settings")
struct ExporterSettingsTests {
    @Test(
        "the path for spans is appended to the base address",
        arguments: [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://collector.example.com", "https://collector.example.com/v1/traces"),
            ("https://example.com/otlp/team%20a/", "https://example.com/otlp/team%20a/v1/traces"),
            ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
        ])
    func endpoint(text: String, url: String) throws {
        #expect(try settings(endpoint: text).url == url)
    }

    @Test(
        "addresses that can't be used are refused",
        arguments: [
            "", "127.0.0.1:4318", "localhost", "ftp://example.com", "file:///etc/passwd", "http://", "http://:4318",
            "http://user:secret@example.com", "http://example.com?a=b", "http://example.com/#a", "http://exa mple.com",
            "http://example.com:99999", "http://example.com/\r\nX: y", "grpc://127.0.0.1:4317",
        ])
    func badEndpoint(text: String) throws {
        let error = try #require(throws: SpanExporter.SettingsError.self) { try settings(endpoint: text) }
        #expect(error.setting == "endpoint")
        #expect(!error.description.contains("secret"))
    }

    @Test("a ratio outside 0 to 1 is refused", arguments: [-0.1, 1.1, .nan, .infinity])
    func badRatio(ratio: Double) throws {
        let error = try #require(throws: SpanExporter.SettingsError.self) { try settings(ratio: ratio) }
        #expect(error.setting == "sampleRatio")
    }

    @Test(
        "headers that would break the request are refused, without telling their values",
        arguments: [
            ("", "secret"), ("a b", "secret"), ("a:", "secret"), ("名", "secret"), ("a\r\nb", "secret"),
            ("a", "secret\r\nb: c"), ("a", "secret\u{0}"), ("Content-Type", "secret"), ("host", "secret"),
        ])
    func badHeaders(name: String, value: String) throws {
        let error = try #require(throws: SpanExporter.SettingsError.self) { try settings(headers: [(name, value)]) }
        #expect(error.setting == "headers")
        #expect(!error.description.contains("secret"))
    }

    @Test("a resource without the service's name is refused")
    func badResource() throws {
        for resource in [[:], ["service.name": ""], ["service.name": 1]] as [SpanAttributes] {
            let error = try #require(throws: SpanExporter.SettingsError.self) {
                try SpanExporter.Settings(endpoint: "http://127.0.0.1:4318", resource: resource)
            }
            #expect(error.description == "resource: service.name is missing")
        }
    }

    @Test("header lists are read as OpenTelemetry writes them")
    func headerList() throws {
        let text = " api-key = a%20b%2Cc , Authorization=Basic dXNlcg==,x=%E5%85%B3, ,empty="
        let headers = try SpanExporter.Settings.headers(from: text)
        #expect(headers.map(\.0) == ["api-key", "Authorization", "x", "empty"])
        #expect(headers.map(\.1) == ["a b,c", "Basic dXNlcg==", "关", ""])
        #expect(try SpanExporter.Settings.headers(from: "").isEmpty)
    }

    @Test(
        "header lists that can't be read are refused, without telling their values",
        arguments: [
            "a=b,secret", "a=b,=secret", "a=b,c=secret%", "a=b,c=secret%4", "a=b,c=secret%zz", "a=b,c=secret%ff",
        ])
    func badHeaderList(text: String) throws {
        let error = try #require(throws: SpanExporter.SettingsError.self) {
            try SpanExporter.Settings.headers(from: text)
        }
        #expect(error.description.hasPrefix("headers: header 2 "))
        #expect(!error.description.contains("secret"))
    }

    @discardableResult
    private func settings(
        endpoint: String = "http://127.0.0.1:4318", headers: [(String, String)] = [], ratio: Double = 1
    ) throws -> SpanExporter.Settings {
        try SpanExporter.Settings(
            endpoint: endpoint, headers: headers, sampleRatio: ratio, resource: ["service.name": "contacts"])
    }
}
