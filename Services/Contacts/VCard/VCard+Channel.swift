extension VCard {
    /// A way to reach somebody.
    package struct Channel: Sendable, Equatable {
        /// Without white space around it; never empty.
        package let value: String
        /// `work`, `home`, `cell`, …, in lower case; never `pref`.
        package let types: Set<String>
        /// 1 (best) to 100; nil when the card doesn't rank it.
        package let preference: Int?
        /// What its owner calls it: X-ABLABEL of the same group, which Apple and Google write.
        package let label: String?
        /// Whose service it is reached by (`QQ`, `twitter`), of messengers and social profiles.
        package let service: String?
    }

    /// Where somebody lives or works (RFC 6350 §6.3.1). A component that the card lists is joined by commas.
    package struct Address: Sendable, Equatable {
        package var postOfficeBox = ""
        package var extended = ""
        package var street = ""
        package var locality = ""
        package var region = ""
        package var postalCode = ""
        /// As the card writes it: usually a name, not a code. Apple's X-ABADR gives the code in `countryCode`.
        package var country = ""
        /// Two letters of ISO 3166, upper case: CC of RFC 8605, or X-ABADR of the same group.
        package var countryCode: String?
        package var types: Set<String> = []
        package var preference: Int?
        package var label: String?
    }

    /// EMAIL (RFC 6350 §6.4.2), in the order of the file; a `mailto:` in front is left out.
    package var emails: [Channel] { channels("EMAIL", value: { Self.withoutScheme("mailto", $0) }) }

    /// TEL (RFC 6350 §6.4.1). Of `tel:+1-555-0100;ext=12` the number alone; the rest stays in the property.
    package var phones: [Channel] {
        channels("TEL", value: Self.number)
    }

    /// IMPP (RFC 6350 §6.4.3), with its scheme (`xmpp:…`), and the properties of single services, as X-QQ.
    package var messengers: [Channel] {
        let scheme = { (text: String) in text.contains(":") ? text.split(separator: ":").first.map(String.init) : nil }
        let own = Self.messengerServices.flatMap { name, service in channels(name, service: { _ in service }) }
        return channels("IMPP", service: scheme) + own
    }

    /// URL (RFC 6350 §6.7.8).
    package var urls: [Channel] { channels("URL") }

    /// X-SOCIALPROFILE as Apple writes it, and SOCIALPROFILE (RFC 9554). The service is one of its types there.
    package var socialProfiles: [Channel] { channels("X-SOCIALPROFILE") + channels("SOCIALPROFILE") }

    /// ADR that is not empty, in the order of the file.
    package var addresses: [Address] {
        properties("ADR").compactMap { property in
            var address = Address()
            let texts = property.components.map { $0.map(\.trimmed).filter { !$0.isEmpty }.joined(separator: ", ") }
            let slots: [WritableKeyPath<Address, String>] = [
                \.postOfficeBox, \.extended, \.street, \.locality, \.region, \.postalCode, \.country,
            ]
            for (slot, text) in zip(slots, texts) { address[keyPath: slot] = text }
            if address == Address() { return nil }
            address.countryCode = countryCode(of: property)
            address.types = property.types
            address.preference = property.preference
            address.label = label(of: property)
            return address
        }
    }

    private static let messengerServices = [
        ("X-QQ", "QQ"), ("X-WECHAT", "WeChat"), ("X-SKYPE", "Skype"), ("X-SKYPE-USERNAME", "Skype"),
        ("X-JABBER", "Jabber"), ("X-AIM", "AIM"), ("X-ICQ", "ICQ"), ("X-MSN", "MSN"), ("X-YAHOO", "Yahoo"),
    ]

    private func channels(
        _ name: String, service: (String) -> String? = { _ in nil }, value: (String) -> String = { $0 }
    ) -> [Channel] {
        properties(name).compactMap { property in
            let text = property.text.trimmed
            let value = value(text).trimmed
            if value.isEmpty { return nil }
            let named = ["SERVICE-TYPE", "X-SERVICE-TYPE"].lazy.compactMap { property.parameter($0).first }.first
            return Channel(
                value: value, types: property.types, preference: property.preference, label: label(of: property),
                service: named ?? service(text))
        }
    }

    private static func number(_ text: String) -> String {
        let number = withoutScheme("tel", text)
        return number == text ? text : String(number.prefix { $0 != ";" })
    }

    private func label(of property: Property) -> String? {
        guard var label = companion("X-ABLABEL", of: property) else { return nil }
        // Apple marks the labels that it translates: `_$!<Home>!$_`.
        if label.hasPrefix("_$!<") && label.hasSuffix(">!$_") { label = String(label.dropFirst(4).dropLast(4)) }
        return label.isEmpty ? nil : label
    }

    private func countryCode(of property: Property) -> String? {
        guard let code = property.parameter("CC").first ?? companion("X-ABADR", of: property) else { return nil }
        return code.utf8.count == 2 ? code.uppercased() : nil
    }

    private func companion(_ name: String, of property: Property) -> String? {
        guard let group = property.group?.lowercased() else { return nil }
        return properties.first { $0.name == name && $0.group?.lowercased() == group }?.text.trimmed
    }

    private static func withoutScheme(_ scheme: String, _ text: String) -> String {
        text.lowercased().hasPrefix(scheme + ":") ? String(text.dropFirst(scheme.count + 1)) : text
    }
}
