import CCurl

/// One request on its way, and libcurl's handle for it. Not `Sendable`: it belongs to the client's thread.
///
/// libcurl's callbacks get a pointer to it that doesn't keep it alive: the loop does, until the handle has been removed.
final class Transfer {
    let delivery: Delivery
    let easy: UnsafeMutableRawPointer
    private let settings: HTTPDelivery.Settings
    private let errorText: UnsafeMutablePointer<CChar>
    private var headers: UnsafeMutablePointer<curl_slist>?
    private let started = ContinuousClock.now
    private var reader = AnswerReader()
    /// The address that was tried last, whether or not it was refused.
    private var lastAddress: IPAddress?
    private var lastRefusal: AddressRefusal?
    private var hasOpenedSocket = false

    init(_ delivery: Delivery, _ settings: HTTPDelivery.Settings) {
        self.delivery = delivery
        self.settings = settings
        easy = curl_easy_init()!
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    }

    deinit {
        curl_easy_cleanup(easy)
        curl_slist_free_all(headers)
        errorText.deallocate()
    }

    /// The number of the delivery that a handle made by `prepare` is for.
    static func id(of easy: UnsafeMutableRawPointer) -> UInt64 {
        var pointer: UnsafePointer<CChar>?
        ccurl_get_text(easy, CURLINFO_PRIVATE, &pointer)
        guard let pointer else { return 0 }
        return transfer(UnsafeMutableRawPointer(mutating: pointer)).delivery.id
    }

    // MARK: Options

    /// Tells libcurl what to do. Any option that it doesn't take is a failure: several of them are what keeps a
    /// delivery from going where it may not.
    func prepare() -> DeliveryFailure? {
        do {
            try setRequest()
            try setLimits()
            try setCallbacks()
            return nil
        } catch {
            return DeliveryFailure(code: .other, message: "libcurl: " + String(cString: curl_easy_strerror(error.code)))
        }
    }

    private func setRequest() throws(OptionError) {
        let request = delivery.request
        for header in request.headers { headers = curl_slist_append(headers, header.line) }
        // Without this, libcurl asks before it sends a long body, and waits a second for receivers that don't know that.
        headers = curl_slist_append(headers, "Expect:")
        try check(ccurl_set_text(easy, CURLOPT_URL, request.target.url))
        try check(ccurl_set_number(easy, CURLOPT_POST, 1))
        try check(ccurl_set_size(easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(request.body.count)))
        // One byte more than needed: the pointer of an empty array may be nil, which would mean standard input.
        try check(ccurl_set_pointer(easy, CURLOPT_COPYPOSTFIELDS, request.body + [0]))
        try check(ccurl_set_list(easy, CURLOPT_HTTPHEADER, headers))
        try check(ccurl_set_text(easy, CURLOPT_USERAGENT, "Guanxi-Webhooks/1"))
        try check(ccurl_set_number(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1))
    }

    private func setLimits() throws(OptionError) {
        try check(ccurl_set_text(easy, CURLOPT_PROTOCOLS_STR, delivery.request.target.isSecure ? "https" : "http"))
        try check(ccurl_set_number(easy, CURLOPT_FOLLOWLOCATION, 0))
        // An empty text, not none, or the environment's proxy would be used.
        try check(ccurl_set_text(easy, CURLOPT_PROXY, ""))
        try check(ccurl_set_number(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2))
        try check(ccurl_set_number(easy, CURLOPT_SSL_VERIFYPEER, 1))
        try check(ccurl_set_number(easy, CURLOPT_SSL_VERIFYHOST, 2))
        if let file = settings.certificateAuthorities {
            try check(ccurl_set_text(easy, CURLOPT_CAINFO, file))
            try check(ccurl_set_text(easy, CURLOPT_CAPATH, nil))
        }
        try check(ccurl_set_number(easy, CURLOPT_CONNECTTIMEOUT_MS, settings.connectTimeout.milliseconds))
        try check(ccurl_set_number(easy, CURLOPT_TIMEOUT_MS, settings.totalTimeout.milliseconds))
        // Signals belong to the process, not to a library on one thread.
        try check(ccurl_set_number(easy, CURLOPT_NOSIGNAL, 1))
        // Without this, giving up on a slow name server waits for it, and every other transfer waits too.
        try check(ccurl_set_number(easy, CURLOPT_QUICK_EXIT, 1))
    }

    private func setCallbacks() throws(OptionError) {
        let this = UnsafeRawPointer(Unmanaged.passUnretained(self).toOpaque())
        try check(ccurl_set_pointer(easy, CURLOPT_PRIVATE, this))
        try check(ccurl_set_pointer(easy, CURLOPT_ERRORBUFFER, errorText))
        try check(
            ccurl_set_socket_opener(easy) { context, _, address in
                transfer(context!).open(address!)
            })
        try check(ccurl_set_pointer(easy, CURLOPT_OPENSOCKETDATA, this))
        try check(
            ccurl_set_receiver(easy, CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
                let bytes = UnsafeRawBufferPointer(start: bytes, count: size * count)
                return transfer(context!).reader.header(bytes) ? bytes.count : -1
            })
        try check(ccurl_set_pointer(easy, CURLOPT_HEADERDATA, this))
        try check(
            ccurl_set_receiver(easy, CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
                let bytes = UnsafeRawBufferPointer(start: bytes, count: size * count)
                return transfer(context!).reader.body(bytes) ? bytes.count : -1
            })
        try check(ccurl_set_pointer(easy, CURLOPT_WRITEDATA, this))
    }

    private func check(_ code: CURLcode) throws(OptionError) {
        if code != CURLE_OK { throw OptionError(code: code) }
    }

    // MARK: Address

    /// Called by libcurl for every connection, with the very address that it will connect to.
    private func open(_ address: UnsafeMutablePointer<curl_sockaddr>) -> curl_socket_t {
        let family = address.pointee.family
        guard let ip = IPAddress(socketAddress: ccurl_address(address), family: family) else {
            lastRefusal = .reserved
            return curl_socket_t(-1)
        }
        lastAddress = ip
        if let refusal = settings.policy.refusal(of: ip) {
            lastRefusal = refusal
            return curl_socket_t(-1)
        }
        hasOpenedSocket = true
        return ccurl_open(address)
    }

    // MARK: Outcome

    func outcome(of failure: DeliveryFailure) -> DeliveryOutcome { outcome(.failure(failure)) }

    func outcome(of code: CURLcode) -> DeliveryOutcome {
        // Once status and fields are there the receiver has spoken: a body cut short changes nothing.
        if reader.isAnswered { return outcome(.success(reader.answer(isComplete: code == CURLE_OK))) }
        return outcome(.failure(failure(of: code)))
    }

    private func outcome(_ result: Result<DeliveryAnswer, DeliveryFailure>) -> DeliveryOutcome {
        var pointer: UnsafePointer<CChar>?
        ccurl_get_text(easy, CURLINFO_PRIMARY_IP, &pointer)
        let connected = pointer.map { String(cString: $0) } ?? ""
        return DeliveryOutcome(
            result: result, duration: ContinuousClock.now - started,
            remoteAddress: connected.isEmpty ? lastAddress?.description : connected)
    }

    private func failure(of code: CURLcode) -> DeliveryFailure {
        if let refusal = lastRefusal, !hasOpenedSocket, code == CURLE_COULDNT_CONNECT {
            return DeliveryFailure(
                code: .addressRefused, message: "Deliveries don't go there: the address is \(refusal.text).")
        }
        if reader.isHeaderTooLong {
            return DeliveryFailure(code: .other, message: "The answer's header fields are too long.")
        }
        var firstByte: curl_off_t = 0
        var systemError = 0
        ccurl_get_size(easy, CURLINFO_STARTTRANSFER_TIME_T, &firstByte)
        ccurl_get_number(easy, CURLINFO_OS_ERRNO, &systemError)
        return DeliveryFailure(
            code: DeliveryFailure.Code(code, hasFirstByte: firstByte > 0, systemError: Int32(systemError)),
            message: message(of: code))
    }

    private func message(of code: CURLcode) -> String {
        let detail = String(cString: errorText)
        return detail.isEmpty ? String(cString: curl_easy_strerror(code)) : detail
    }
}

/// An option that libcurl did not take.
private struct OptionError: Error {
    let code: CURLcode
}

/// Gives back the transfer that a callback was set up with.
private func transfer(_ context: UnsafeMutableRawPointer) -> Transfer {
    Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
}

extension Duration {
    /// Whole milliseconds, at least 1, since 0 means no limit to libcurl.
    fileprivate var milliseconds: Int { max(1, Int(self / .milliseconds(1))) }
}
