import CCurl

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

extension DeliveryFailure.Code {
    /// What libcurl's result of a transfer without an answer means.
    ///
    /// - Parameters:
    ///   - hasFirstByte: something of an answer had come.
    ///   - systemError: `errno` of the last attempt to connect.
    init(_ code: CURLcode, hasFirstByte: Bool, systemError: Int32) {
        switch code {
        case CURLE_OPERATION_TIMEDOUT:
            self = hasFirstByte ? .tooSlow : .timeout
        case CURLE_COULDNT_CONNECT:
            switch systemError {
            case ECONNREFUSED: self = .connectionRefused
            case ETIMEDOUT: self = .timeout
            default: self = .other
            }
        case CURLE_COULDNT_RESOLVE_HOST:
            self = .dns
        case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CIPHER,
            CURLE_SSL_CERTPROBLEM, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_INVALIDCERTSTATUS, CURLE_SSL_CLIENTCERT:
            self = .tls
        default:
            self = .other
        }
    }
}
