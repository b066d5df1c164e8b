import Foundation

/// What is known of a customer, for deciding what to do next.
struct CustomerSituation: Equatable {
    var mayContact = true
    /// Ends of the terms of open tickets; nil for one without a term.
    var openTickets: [Date?] = []
    /// Expected ends of open deals; nil for one that has none.
    var openDeals: [Date?] = []
    var overdueTasks = 0
    var purchases = 0
    /// Has ever paid anything.
    var hasPaid = false
    var lastPurchase: Date?
    /// When anybody last was in touch.
    var lastContact: Date?
    /// When we came to know the customer.
    var knownSince: Date
    /// Mean of performance minus expectation, −9 to 9; nil without an answer.
    var satisfactionGap: Double?
    /// Month and day of birth.
    var birthday: (month: Int, day: Int)?

    static func == (left: CustomerSituation, right: CustomerSituation) -> Bool {
        left.mayContact == right.mayContact && left.openTickets == right.openTickets
            && left.openDeals == right.openDeals && left.overdueTasks == right.overdueTasks
            && left.purchases == right.purchases && left.hasPaid == right.hasPaid
            && left.lastPurchase == right.lastPurchase && left.lastContact == right.lastContact
            && left.knownSince == right.knownSince && left.satisfactionGap == right.satisfactionGap
            && left.birthday?.month == right.birthday?.month && left.birthday?.day == right.birthday?.day
    }
}

/// What is best done next with a customer, and why: rules, in the order of their weight, the first that applies first.
struct NextBestAction: Equatable {
    /// `call`, `answer`, `follow_up`, `do_task`, `reach_out`, `thank`, `greet`, `qualify`.
    let action: String
    /// Which rule it comes from, stable for programs.
    let rule: String
    /// Why, with the figures that it rests on.
    let reason: String

    /// Days after which a customer who has bought is missed.
    static let silence = 90
    /// At or below this gap a customer was clearly disappointed.
    static let disappointment = -2.0

    /// All that apply, best first; empty when there is nothing to do.
    static func all(_ customer: CustomerSituation, now: Date, calendar: Calendar) -> [NextBestAction] {
        var actions: [NextBestAction] = []
        func add(_ action: String, _ rule: String, _ reason: String) {
            actions.append(NextBestAction(action: action, rule: rule, reason: reason))
        }
        let late = customer.openTickets.compactMap { $0 }.filter { $0 < now }
        if let oldest = late.min() {
            add(
                "call", "ticket_overdue",
                "\(late.count) open ticket(s) past the term, the oldest by \(hours(oldest, now)) h.")
        } else if !customer.openTickets.isEmpty {
            add("answer", "ticket_open", "\(customer.openTickets.count) open ticket(s).")
        }
        // Whoever asked not to be contacted is answered, and otherwise left in peace.
        guard customer.mayContact else { return actions }
        if let gap = customer.satisfactionGap, gap <= disappointment {
            add("call", "disappointed", "Performance was \(round(-gap)) below what was expected, on average.")
        }
        let slipped = customer.openDeals.compactMap { $0 }.filter { $0 < now }
        if !slipped.isEmpty {
            add("follow_up", "deal_slipped", "\(slipped.count) open deal(s) past the expected close.")
        }
        if customer.overdueTasks > 0 {
            add("do_task", "task_overdue", "\(customer.overdueTasks) task(s) overdue.")
        }
        let quiet = days(since: customer.lastContact ?? customer.knownSince, now)
        if quiet >= silence && customer.hasPaid {
            add("reach_out", "silent_customer", "No contact for \(quiet) days with a customer who has paid.")
        }
        if customer.purchases == 1, let last = customer.lastPurchase, days(since: last, now) >= 30, quiet >= 30 {
            add("thank", "first_purchase", "One purchase, \(days(since: last, now)) days ago, and no word since.")
        }
        if let days = daysUntilBirthday(customer, now, calendar), days <= 7 {
            add("greet", "birthday", days == 0 ? "Today is the birthday." : "Birthday in \(days) day(s).")
        }
        if customer.openDeals.isEmpty && customer.purchases == 0, let last = customer.lastContact,
            days(since: last, now) <= 30
        {
            add("qualify", "interest_without_deal", "In touch \(days(since: last, now)) day(s) ago, and no deal yet.")
        }
        return actions
    }

    private static func days(since date: Date, _ now: Date) -> Int { max(0, Int(now.timeIntervalSince(date) / 86_400)) }
    private static func hours(_ date: Date, _ now: Date) -> Int { Int(now.timeIntervalSince(date) / 3600) }
    private static func round(_ value: Double) -> Double { (value * 10).rounded() / 10 }

    /// Whole days of the tenant's calendar; whoever was born on 29 February is greeted on 1 March in other years.
    private static func daysUntilBirthday(_ customer: CustomerSituation, _ now: Date, _ calendar: Calendar) -> Int? {
        guard let birthday = customer.birthday else { return nil }
        let today = calendar.startOfDay(for: now)
        let year = calendar.component(.year, from: today)
        for candidate in [year, year + 1] {
            let parts = DateComponents(year: candidate, month: birthday.month, day: birthday.day)
            guard let day = calendar.date(from: parts), day >= today else { continue }
            return calendar.dateComponents([.day], from: today, to: day).day
        }
        return nil
    }
}
