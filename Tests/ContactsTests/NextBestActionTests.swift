import Foundation
import Testing

@testable import Contacts

@Suite("The next best action")
struct NextBestActionTests {
    private let now = Date(timeIntervalSince1970: 1_800_000_000)
    private var calendar: Calendar {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = .gmt
        return calendar
    }

    private func rules(_ change: (inout CustomerSituation) -> Void) -> [String] {
        var customer = CustomerSituation(knownSince: days(-400))
        change(&customer)
        return NextBestAction.all(customer, now: now, calendar: calendar).map(\.rule)
    }

    private func days(_ count: Double) -> Date { now.addingTimeInterval(count * 86_400) }

    @Test("a ticket past its term comes before everything else")
    func tickets() {
        #expect(rules { $0.openTickets = [days(-1), nil] } == ["ticket_overdue"])
        #expect(rules { $0.openTickets = [days(1), nil] } == ["ticket_open"])
        let both = rules {
            $0.openTickets = [days(-1)]
            $0.openDeals = [days(-3)]
            $0.overdueTasks = 2
            $0.satisfactionGap = -3
        }
        #expect(both == ["ticket_overdue", "disappointed", "deal_slipped", "task_overdue"])
    }

    @Test("silence counts for those who have paid, and from the day of the last contact")
    func silence() {
        #expect(rules { $0.hasPaid = true } == ["silent_customer"])
        #expect(rules { $0.hasPaid = false } == [])
        #expect(
            rules {
                $0.hasPaid = true
                $0.lastContact = days(-89.5)
            } == [])
        #expect(
            rules {
                $0.hasPaid = true
                $0.lastContact = days(-90)
            } == ["silent_customer"])
    }

    @Test("whoever wants no contact is answered and otherwise left in peace")
    func doNotContact() {
        let found = rules {
            $0.mayContact = false
            $0.openTickets = [nil]
            $0.hasPaid = true
            $0.overdueTasks = 1
        }
        #expect(found == ["ticket_open"])
    }

    @Test("a birthday is seen a week ahead, over the end of the year, and on a leap day")
    func birthdays() {
        // 1,800,000,000 is 15 January 2027.
        #expect(rules { $0.birthday = (1, 15) } == ["birthday"])
        #expect(rules { $0.birthday = (1, 22) } == ["birthday"])
        #expect(rules { $0.birthday = (1, 23) } == [])
        #expect(rules { $0.birthday = (1, 14) } == [])
        let lateInYear = Date(timeIntervalSince1970: 1_798_588_800)  // 30 December 2026
        var customer = CustomerSituation(knownSince: lateInYear)
        customer.birthday = (1, 2)
        #expect(NextBestAction.all(customer, now: lateInYear, calendar: calendar).map(\.rule) == ["birthday"])
        customer.birthday = (2, 29)
        let february = Date(timeIntervalSince1970: 1_803_686_400)  // 26 February 2027
        customer.lastContact = february
        customer.purchases = 2
        #expect(NextBestAction.all(customer, now: february, calendar: calendar).map(\.rule) == ["birthday"])
    }

    @Test("interest without a deal asks to be qualified; a first purchase asks for a word of thanks")
    func others() {
        #expect(rules { $0.lastContact = days(-3) } == ["interest_without_deal"])
        let once = rules {
            $0.purchases = 1
            $0.lastPurchase = days(-40)
            $0.lastContact = days(-40)
            $0.hasPaid = true
        }
        #expect(once == ["first_purchase"])
    }
}
