/// The local part of an e-mail address: people keep it when they change their provider.
enum EmailParts {
    private static let shared: [[UInt16]] = [
        "info", "sales", "office", "contact", "admin", "mail", "hello", "support", "service", "kontakt", "team", "post",
        "accueil", "bonjour", "family", "familie", "famille", "webmaster", "postmaster", "noreply", "enquiries",
    ].map { Array($0.utf16) }

    /// Everything before the @, or everything.
    static func local(_ units: UnsafeBufferPointer<UInt16>) -> Slice<UnsafeBufferPointer<UInt16>> {
        units.prefix { $0 != 0x40 }
    }

    /// At least five units, and none of the mailboxes that every firm has.
    static func isPersonal(_ local: Slice<UnsafeBufferPointer<UInt16>>) -> Bool {
        local.count >= 5 && !shared.contains { local.elementsEqual($0) }
    }

    /// Whether the numbers that make a common name unique differ: up to four digits in the local part.
    static func areNumberedApart(_ left: UnsafeBufferPointer<UInt16>, _ right: UnsafeBufferPointer<UInt16>) -> Bool {
        let one = number(local(left))
        let other = number(local(right))
        return one != other && max(one.digits, other.digits) <= 4
    }

    private static func number(_ local: Slice<UnsafeBufferPointer<UInt16>>) -> (value: UInt64, digits: Int) {
        var number = (value: UInt64(0), digits: 0)
        for unit in local where (0x30...0x39).contains(unit) {
            number = (number.value &* 10 &+ UInt64(unit - 0x30), number.digits + 1)
        }
        return number
    }
}
