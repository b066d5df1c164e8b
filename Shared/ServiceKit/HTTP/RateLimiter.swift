import Database
import Foundation
import Synchronization
import Tenancy

/// Token buckets per tenant and per credential, in this process: `rate` requests a second, bursts of two seconds' worth.
final class RateLimiter: Sendable {
    struct Verdict: Sendable {
        let limit: Int
        let remaining: Int
        /// Seconds until the next request may come; nil when this one may pass.
        let retryAfter: Int?
    }

    private struct Bucket {
        var tokens: Double
        var at: ContinuousClock.Instant
    }

    private enum Key: Hashable {
        case tenant(TenantID)
        case credential(String)
        case account(String)
    }

    private let buckets = Mutex<[Key: Bucket]>([:])

    func take(_ principal: Principal) -> Verdict {
        let now = ContinuousClock.now
        return buckets.withLock { buckets in
            let tenant = Self.take(&buckets, .tenant(principal.tenant), principal.tenantRate, now)
            guard tenant.retryAfter == nil, let rate = principal.credentialRate else { return tenant }
            return Self.take(&buckets, .credential(principal.actor), rate, now)
        }
    }

    /// One attempt to sign in to `account`, of one a second and bursts of ten; nil when it may be made.
    func secondsUntilSignIn(_ account: String) -> Int? {
        buckets.withLock { buckets in
            Self.take(&buckets, .account(account), 1, .now, burst: 10).retryAfter
        }
    }

    private static func take(
        _ buckets: inout [Key: Bucket], _ key: Key, _ rate: Int, _ now: ContinuousClock.Instant,
        burst: Int? = nil
    ) -> Verdict {
        // Who asks under ever new names must not fill the memory: all begin anew, with full buckets.
        if buckets.count > 50_000 { buckets.removeAll() }
        let capacity = Double(burst ?? rate * 2)
        var bucket = buckets[key] ?? Bucket(tokens: capacity, at: now)
        bucket.tokens = min(capacity, bucket.tokens + (now - bucket.at) / .seconds(1) * Double(rate))
        bucket.at = now
        let passes = bucket.tokens >= 1
        if passes { bucket.tokens -= 1 }
        buckets[key] = bucket
        return Verdict(
            limit: rate, remaining: Int(bucket.tokens),
            retryAfter: passes ? nil : max(1, Int(((1 - bucket.tokens) / Double(rate)).rounded(.up))))
    }
}
