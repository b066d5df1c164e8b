import CCurl

/// The collector's address, read by libcurl's own rules: what is checked here is what it will connect to.
enum CollectorAddress {
    /// The address for spans under a base address.
    static func url(endpoint: String) throws(SpanExporter.SettingsError) -> String {
        guard let parts = curl_url() else { throw error("out of memory") }
        defer { curl_url_cleanup(parts) }
        let status = curl_url_set(parts, CURLUPART_URL, endpoint, 0)
        guard status == CURLUE_OK else {
            throw error("it is not a URL: " + String(cString: curl_url_strerror(status)))
        }
        guard let scheme = part(CURLUPART_SCHEME, of: parts), ["http", "https"].contains(scheme) else {
            throw error("it is neither http nor https")
        }
        if part(CURLUPART_USER, of: parts) != nil || part(CURLUPART_PASSWORD, of: parts) != nil {
            throw error("it has a user's name or password; a header of authentication can say those")
        }
        if part(CURLUPART_QUERY, of: parts) != nil || part(CURLUPART_FRAGMENT, of: parts) != nil {
            throw error("it has a query or fragment; a base address ends with its path")
        }
        var path = part(CURLUPART_PATH, of: parts) ?? "/"
        if path.hasSuffix("/") { path.removeLast() }
        guard curl_url_set(parts, CURLUPART_PATH, path + "/v1/traces", 0) == CURLUE_OK,
            let url = part(CURLUPART_URL, of: parts)
        else { throw error("it is not a URL that takes a path") }
        return url
    }

    private static func part(_ part: CURLUPart, of parts: OpaquePointer) -> String? {
        var text: UnsafeMutablePointer<CChar>?
        guard curl_url_get(parts, part, &text, 0) == CURLUE_OK, let text else { return nil }
        defer { curl_free(text) }
        return String(cString: text)
    }

    private static func error(_ reason: String) -> SpanExporter.SettingsError {
        SpanExporter.SettingsError(setting: "endpoint", reason: reason)
    }
}
