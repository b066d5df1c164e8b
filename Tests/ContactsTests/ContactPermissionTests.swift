import Contracts
import Foundation
import Testing

@Suite("Whether a contact may be reached")
struct ContactPermissionTests {
    private let now = Date(timeIntervalSince1970: 1_800_000_000)

    private func said(
        _ isGranted: Bool, _ purpose: ContactPurpose, _ channel: ContactChannel = .email, ago: Double = 10,
        until: Double? = nil
    ) -> ConsentState {
        ConsentState(
            channel: channel, purpose: purpose, isGranted: isGranted, at: now.addingTimeInterval(-ago),
            expiresAt: until.map { now.addingTimeInterval($0) })
    }

    private func reason(
        _ purpose: ContactPurpose, _ consents: [ConsentState] = [], blocked: Bool = false,
        reachable: Set<ContactChannel> = [.email]
    ) -> ContactPermission.Reason {
        let permission = ContactPermission(doNotContact: blocked, consents: consents, reachable: reachable)
        let decision = permission.decision(purpose, by: .email, at: now)
        let allowing: [ContactPermission.Reason] = [.transactional, .granted, .noObjection]
        #expect(decision.isAllowed == allowing.contains(decision.reason))
        return decision.reason
    }

    @Test("marketing asks first, service and survey until they are told not to, and an invoice always goes")
    func purposes() {
        #expect(reason(.marketing) == .noConsent)
        #expect(reason(.service) == .noObjection && reason(.survey) == .noObjection)
        #expect(reason(.transactional) == .transactional)
        #expect(reason(.marketing, [said(true, .marketing)]) == .granted)
        #expect(reason(.marketing, [said(true, .survey)]) == .noConsent, "a grant is for its purpose")
        #expect(reason(.marketing, [said(true, .marketing, .sms)]) == .noConsent, "and for its channel")
        #expect(reason(.survey, [said(false, .survey)]) == .withdrawn)
        #expect(reason(.transactional, [said(false, .transactional)]) == .transactional)
    }

    @Test("the newest word counts, in whatever order they came; what lies ahead counts later, what has run out no more")
    func time() {
        let words = [
            said(true, .marketing, ago: 30), said(false, .marketing, ago: 20), said(true, .marketing, ago: 10),
        ]
        for order in [words, words.reversed(), [words[1], words[2], words[0]]] {
            #expect(reason(.marketing, order) == .granted)
            #expect(reason(.marketing, order.filter { $0 != words[2] }) == .withdrawn)
        }
        #expect(reason(.marketing, [said(true, .marketing, ago: -5)]) == .noConsent)
        #expect(reason(.marketing, [words[0], said(false, .marketing, ago: -5)]) == .granted)
        #expect(reason(.marketing, [said(true, .marketing, until: -1)]) == .expired)
        #expect(reason(.marketing, [said(true, .marketing, until: 1)]) == .granted)
        let both = [said(true, .marketing), said(false, .marketing)]
        #expect(reason(.marketing, both) == .withdrawn && reason(.marketing, both.reversed()) == .withdrawn)
    }

    @Test("who asked not to be contacted is not, but for what must be sent; nor is anybody without an address")
    func refusals() {
        let granted = [said(true, .marketing), said(true, .service), said(true, .survey)]
        for purpose in [ContactPurpose.marketing, .service, .survey] {
            #expect(reason(purpose, granted, blocked: true) == .doNotContact)
        }
        #expect(reason(.transactional, blocked: true) == .transactional)
        #expect(reason(.transactional, reachable: []) == .noAddress)
    }

    @Test("the best channel is the first in the person's order that is allowed")
    func best() {
        var permission = ContactPermission(
            doNotContact: false, consents: [said(true, .marketing, .sms), said(true, .marketing, .social)],
            preference: [.phone, .social])
        #expect(permission.best(for: .marketing, at: now) == .social)
        #expect(permission.best(for: .service, at: now) == .phone)
        permission.reachable = [.sms]
        #expect(permission.best(for: .marketing, at: now) == .sms)
        permission.doNotContact = true
        #expect(permission.best(for: .marketing, at: now) == nil)
        #expect(Set(permission.order) == Set(ContactChannel.allCases) && permission.order.count == 6)
    }
}
