/// The parts of an address, each in its place: house number and street apart, postcode and city the right way round.
struct AddressParts {
    var house: String?
    var street: String?
    var line2: String?
    var city: String?
    var postalCode: String?

    init(_ profile: MatchProfile) {
        house = Self.nonEmpty(profile.houseNumber)
        street = Self.nonEmpty(profile.street)
        line2 = Self.nonEmpty(profile.addressLine2)
        city = Self.nonEmpty(profile.city)
        postalCode = Self.nonEmpty(profile.postalCode)
        if Self.hasNoDigit(postalCode), Self.hasDigit(city), city.map({ $0.utf8.count <= 12 }) == true {
            swap(&city, &postalCode)
        }
        if let number = house, !Self.hasDigit(number), number.utf8.count > 3, street == nil || Self.isNumber(street) {
            swap(&house, &street)
        }
        if house == nil { takeHouseNumber() }
    }

    /// "12 Main Street", "Hauptstraße 12 b", "中山路12号": the number moves out of the street.
    private mutating func takeHouseNumber() {
        guard let street, Self.hasDigit(street), street.utf8.count <= 256 else { return }
        let scalars = Array(street.unicodeScalars)
        let isDigit = { (scalar: Unicode.Scalar) in
            (0x30...0x39).contains(scalar.value) || (0xff10...0xff19).contains(scalar.value)
        }
        guard let start = scalars.firstIndex(where: isDigit) else { return }
        var end = start
        while end < scalars.count && isDigit(scalars[end]) { end += 1 }
        let digitsEnd = end
        // A single letter belongs to the number: "12b", "12 b".
        if end < scalars.count && scalars[end] == " " && (end + 2 == scalars.count) { end += 1 }
        if end < scalars.count && scalars[end].value < 0x80 && scalars[end].properties.isAlphabetic {
            let isSingle = end + 1 == scalars.count || !scalars[end + 1].properties.isAlphabetic
            end = isSingle ? end + 1 : digitsEnd
        }
        if end < scalars.count && (scalars[end] == "号" || scalars[end] == "號") {
            house = Self.string(scalars[start..<end])
            self.street = Self.nonEmpty(Self.string(scalars[..<start] + scalars[(end + 1)...]))
            return
        }
        let isLeading = start == 0 && end < scalars.count && scalars[end] == " "
        let isTrailing = end == scalars.count && start > 0
        guard isLeading || isTrailing else { return }
        house = Self.string(scalars[start..<end])
        self.street = Self.nonEmpty(Self.string(isLeading ? scalars[end...] : scalars[..<start]))
    }

    private static func string(_ scalars: some Sequence<Unicode.Scalar>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }

    private static func nonEmpty(_ text: String?) -> String? { text?.isEmpty == true ? nil : text }

    private static func hasDigit(_ text: String?) -> Bool {
        guard let text else { return false }
        return text.utf8.prefix(256).contains { (0x30...0x39).contains($0) } || isNumber(text)
    }

    private static func hasNoDigit(_ text: String?) -> Bool { text != nil && !hasDigit(text) }

    private static func isNumber(_ text: String?) -> Bool {
        guard let text else { return false }
        return text.unicodeScalars.prefix(32).allSatisfy { $0.properties.numericType != nil || $0 == " " }
    }
}
