import CCurl
import ThreadExecutor

/// The way to the collector: libcurl, which keeps the connection between requests. Not `Sendable`: it belongs to the
/// exporter's thread.
///
/// It follows no redirect, uses no proxy, and speaks HTTP/1.1 only.
final class CollectorConnection {
    /// libcurl must be initialised once before use; a static does that safely from any thread.
    private static let isReady = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK
    /// Bytes of an answer that are kept, more than any that means something.
    private static let answerLimit = 65_536

    private let multi: UnsafeMutableRawPointer
    private let easy: UnsafeMutableRawPointer
    private let errorText: UnsafeMutablePointer<CChar>
    private var headers: UnsafeMutablePointer<curl_slist>?
    private var answer: [UInt8] = []
    private let mistake: String?

    /// - Parameter timeout: for each request.
    init(_ settings: SpanExporter.Settings, timeout: Duration) {
        precondition(Self.isReady, "libcurl could not be initialised")
        multi = curl_multi_init()!
        easy = curl_easy_init()!
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        headers = Self.headers(settings)
        mistake = Self.prepare(easy, settings, headers, errorText, timeout)
        ccurl_set_pointer(easy, CURLOPT_WRITEDATA, UnsafeRawPointer(Unmanaged.passUnretained(self).toOpaque()))
    }

    deinit {
        curl_easy_cleanup(easy)
        curl_multi_cleanup(multi)
        curl_slist_free_all(headers)
        errorText.deallocate()
    }

    /// Sends `body` and blocks until it is answered, the time limit is over, or `isOutOfTime` says so.
    func post(_ body: [UInt8], isOutOfTime: () -> Bool) -> CollectorAnswer {
        if let mistake { return .refused(mistake) }
        answer.removeAll(keepingCapacity: true)
        errorText[0] = 0
        return body.withUnsafeBytes { bytes in
            ccurl_set_size(easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(bytes.count))
            ccurl_set_pointer(easy, CURLOPT_POSTFIELDS, bytes.baseAddress)
            // Nothing of the body is touched any more once the handle is out.
            defer { curl_multi_remove_handle(multi, easy) }
            guard curl_multi_add_handle(multi, easy) == CURLM_OK else {
                return .unavailable("the transfer could not be started", pause: nil)
            }
            return perform(isOutOfTime)
        }
    }

    private func perform(_ isOutOfTime: () -> Bool) -> CollectorAnswer {
        var running: Int32 = 0
        while true {
            let status = curl_multi_perform(multi, &running)
            guard status == CURLM_OK else { return .unavailable("libcurl failed", pause: nil) }
            if running == 0 { break }
            if isOutOfTime() { return .unavailable("no answer in time", pause: nil) }
            // Returns for sockets at once; that often only so that a shutdown need not wait for a silent collector.
            if curl_multi_poll(multi, nil, 0, 100, nil) != CURLM_OK {
                // Only when the system is out of memory or descriptors: give it time instead of spinning.
                pause(milliseconds: 50)
            }
        }
        var left: Int32 = 0
        var code = CURLE_OK
        while let message = curl_multi_info_read(multi, &left) { code = ccurl_message_result(message) }
        return outcome(of: code)
    }

    private func outcome(of code: CURLcode) -> CollectorAnswer {
        var status = 0
        var retryAfter: curl_off_t = 0
        ccurl_get_number(easy, CURLINFO_RESPONSE_CODE, &status)
        ccurl_get_size(easy, CURLINFO_RETRY_AFTER, &retryAfter)
        // Once there is a final status the collector has spoken: a body cut short changes nothing.
        if status >= 200 {
            return CollectorAnswer(status: status, body: answer, retryAfter: Int(clamping: retryAfter))
        }
        let detail = String(cString: errorText)
        return .unavailable(detail.isEmpty ? String(cString: curl_easy_strerror(code)) : detail, pause: nil)
    }

    /// False when no more is wanted and the transfer must end.
    private func receive(_ bytes: UnsafeRawBufferPointer) -> Bool {
        answer.append(contentsOf: bytes.prefix(Self.answerLimit - answer.count))
        return answer.count < Self.answerLimit
    }

    // MARK: Options

    private static func headers(_ settings: SpanExporter.Settings) -> UnsafeMutablePointer<curl_slist>? {
        var list = curl_slist_append(nil, "Content-Type: application/json")
        // Without this, libcurl asks before it sends a long body, and waits a second for those that don't know that.
        list = curl_slist_append(list, "Expect:")
        for (name, value) in settings.headers {
            // A field without a value would be left out, unless written like this.
            list = curl_slist_append(list, value.isEmpty ? "\(name);" : "\(name): \(value)")
        }
        return list
    }

    /// Tells libcurl what stays the same for all requests. Gives what it didn't take, if anything.
    private static func prepare(
        _ easy: UnsafeMutableRawPointer, _ settings: SpanExporter.Settings,
        _ headers: UnsafeMutablePointer<curl_slist>?, _ errorText: UnsafeMutablePointer<CChar>, _ timeout: Duration
    ) -> String? {
        let milliseconds = max(1, Int(timeout / .milliseconds(1)))
        var codes = [
            ccurl_set_text(easy, CURLOPT_URL, settings.url),
            ccurl_set_number(easy, CURLOPT_POST, 1),
            ccurl_set_list(easy, CURLOPT_HTTPHEADER, headers),
            ccurl_set_text(easy, CURLOPT_USERAGENT, "Guanxi-Spans/1"),
            ccurl_set_number(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1),
            ccurl_set_text(easy, CURLOPT_PROTOCOLS_STR, "http,https"),
            ccurl_set_number(easy, CURLOPT_FOLLOWLOCATION, 0),
            // An empty text, not none, or the environment's proxy would be used.
            ccurl_set_text(easy, CURLOPT_PROXY, ""),
            ccurl_set_number(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2),
            ccurl_set_number(easy, CURLOPT_TIMEOUT_MS, milliseconds),
            // Signals belong to the process, not to a library on one thread.
            ccurl_set_number(easy, CURLOPT_NOSIGNAL, 1),
            // Without this, giving up on a slow name server waits for it.
            ccurl_set_number(easy, CURLOPT_QUICK_EXIT, 1),
            ccurl_set_pointer(easy, CURLOPT_ERRORBUFFER, errorText),
            ccurl_set_socket_opener(easy) { _, _, address in ccurl_open(address!) },
            ccurl_set_receiver(easy, CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
                let bytes = UnsafeRawBufferPointer(start: bytes, count: size * count)
                let connection = Unmanaged<CollectorConnection>.fromOpaque(context!).takeUnretainedValue()
                return connection.receive(bytes) ? bytes.count : -1
            },
        ]
        if let file = settings.certificateAuthorities {
            codes += [ccurl_set_text(easy, CURLOPT_CAINFO, file), ccurl_set_text(easy, CURLOPT_CAPATH, nil)]
        }
        return codes.first { $0 != CURLE_OK }.map { "libcurl: " + String(cString: curl_easy_strerror($0)) }
    }
}
