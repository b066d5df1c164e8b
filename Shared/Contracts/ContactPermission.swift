import Foundation

/// A way to reach a person.
public enum ContactChannel: String, Codable, Sendable, CaseIterable {
    case email, phone, sms, web, social
    case faceToFace = "face_to_face"
}

/// Why a person is to be reached.
public enum ContactPurpose: String, Codable, Sendable, CaseIterable {
    /// What a contract or the law demands: an invoice, a recall.
    case transactional
    /// What the customer's own matter needs: the answer to a ticket, a visit that was agreed.
    case service
    case marketing
    /// Asking how it was.
    case survey
}

/// What a person said last of one channel and purpose.
public struct ConsentState: Codable, Sendable, Equatable {
    public let channel: ContactChannel
    public let purpose: ContactPurpose
    public let isGranted: Bool
    public let at: Date
    /// A grant counts until then; nil for as long as it is not withdrawn.
    public let expiresAt: Date?

    public init(channel: ContactChannel, purpose: ContactPurpose, isGranted: Bool, at: Date, expiresAt: Date? = nil) {
        self.channel = channel
        self.purpose = purpose
        self.isGranted = isGranted
        self.at = at
        self.expiresAt = expiresAt
    }
}

/// Whether a person may be reached: one decision for everything that would send, call or ask. Pure.
///
/// Marketing needs a grant that stands (opt-in). Service and survey go until they are withdrawn (opt-out). What is
/// transactional always goes. `do_not_contact` refuses all but that.
public struct ContactPermission: Sendable {
    public var doNotContact: Bool
    /// The person's whole ledger, or of each channel and purpose the newest: the newest up to the time asked for counts.
    public var consents: [ConsentState]
    /// The channels the person would rather be reached by, best first; those left out come after them.
    public var preference: [ContactChannel]
    /// The channels by which the person can be reached at all: an address or number is known, or none is needed.
    public var reachable: Set<ContactChannel>

    public init(
        doNotContact: Bool, consents: [ConsentState], preference: [ContactChannel] = [],
        reachable: Set<ContactChannel> = Set(ContactChannel.allCases)
    ) {
        self.doNotContact = doNotContact
        self.consents = consents
        self.preference = preference
        self.reachable = reachable
    }

    /// Why it is allowed or refused: stable, for programs.
    public enum Reason: String, Codable, Sendable, CaseIterable {
        case transactional, granted
        case noObjection = "no_objection"
        case doNotContact = "do_not_contact"
        case withdrawn, expired
        case noConsent = "no_consent"
        case noAddress = "no_address"

        /// For people.
        public var explanation: String {
            switch self {
            case .transactional: "A contract or the law asks for it."
            case .granted: "The person agreed to it."
            case .noObjection: "It needs no consent, and the person has not objected."
            case .doNotContact: "The person asked not to be contacted."
            case .withdrawn: "The person withdrew consent, or objected."
            case .expired: "The person agreed to it for a time that is over."
            case .noConsent: "It needs consent, and the person has given none."
            case .noAddress: "No address or number is known for this channel."
            }
        }
    }

    /// The answer for one channel.
    public struct Decision: Sendable, Equatable {
        public let isAllowed: Bool
        public let reason: Reason
        /// The consent that decided it, if one did.
        public let consent: ConsentState?
    }

    /// Whether the person may be reached by `channel` for `purpose` at `time`.
    public func decision(_ purpose: ContactPurpose, by channel: ContactChannel, at time: Date) -> Decision {
        guard reachable.contains(channel) else { return refused(.noAddress) }
        if purpose == .transactional { return Decision(isAllowed: true, reason: .transactional, consent: nil) }
        if doNotContact { return refused(.doNotContact) }
        let said = consents.filter { $0.channel == channel && $0.purpose == purpose && $0.at <= time }
        // Of two that were said at the same moment the refusal counts.
        let newest = said.max { ($0.at, $0.isGranted ? 0 : 1) < ($1.at, $1.isGranted ? 0 : 1) }
        let isExpired = newest?.expiresAt.map { $0 <= time } ?? false
        switch newest {
        case .some(let consent) where !consent.isGranted: return refused(.withdrawn, consent)
        case .some(let consent) where !isExpired: return Decision(isAllowed: true, reason: .granted, consent: consent)
        case let consent where purpose == .marketing: return refused(consent == nil ? .noConsent : .expired, consent)
        default: return Decision(isAllowed: true, reason: .noObjection, consent: nil)
        }
    }

    private func refused(_ reason: Reason, _ consent: ConsentState? = nil) -> Decision {
        Decision(isAllowed: false, reason: reason, consent: consent)
    }

    /// All channels, the preferred ones first.
    public var order: [ContactChannel] {
        preference + ContactChannel.allCases.filter { !preference.contains($0) }
    }

    /// The channel to reach the person by: the first in the order of preference that is allowed; nil for none.
    public func best(for purpose: ContactPurpose, at time: Date) -> ContactChannel? {
        order.first { decision(purpose, by: $0, at: time).isAllowed }
    }
}
