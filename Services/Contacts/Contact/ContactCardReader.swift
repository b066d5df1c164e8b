import Foundation
import Records
import VCard

/// Reads the cards of a file as contacts.
struct ContactCardReader: RecordFileReader {
    private var reader: VCardReader

    init(from place: ImportPlace) {
        reader = VCardReader(offset: place.offset, entries: place.entries, lines: place.lines)
    }

    mutating func feed(_ bytes: ArraySlice<UInt8>) -> [RecordFileEntry] { reader.feed(bytes).map(Self.entry) }
    mutating func finish() -> [RecordFileEntry] { reader.finish().map(Self.entry) }

    private static func entry(_ entry: VCardReader.Entry) -> RecordFileEntry {
        let place = ImportPlace(offset: entry.end, entries: entry.number, lines: entry.lines)
        switch entry.result {
        case .failure(let error):
            return RecordFileEntry(
                number: entry.number, place: place,
                error: (error.code.rawValue, "\(error.message) (line \(error.line))"))
        case .success(let card):
            let isOurs = !card.properties(ContactCard.mark).isEmpty
            let reading = isOurs ? ContactCardReading(own: card) : ContactCardReading(foreign: card)
            return RecordFileEntry(
                number: entry.number, place: place, record: reading.record, unplaced: reading.unplaced,
                named: reading.named)
        }
    }
}

/// What a card says of a contact: a pure decision, exact for our own cards, sensible for all others.
struct ContactCardReading {
    private(set) var record: [String: JSONValue] = [:]
    private(set) var unplaced: [RecordFileEntry.Unplaced] = []
    private(set) var named: [String: String] = [:]
    private let card: VCard

    // MARK: Our own

    init(own card: VCard) {
        self.card = card
        for (name, field) in ContactCard.texts { record[field] = JSONValue(card.property(name)?.text) }
        record["birth_date"] = JSONValue(card.birthday?.text)
        if let name = card.property("N")?.components {
            for (index, field) in ["family_name", "given_name"].enumerated() where index < name.count {
                record[field] = JSONValue(name[index].first)
            }
        }
        for (name, field) in ContactCard.channels {
            record[field] = .array(
                card.properties(name).map { property in
                    var entry = Self.entry(property, members: ["kind", "primary", "verified"])
                    entry["value"] = .string(property.text)
                    return .object(entry)
                })
        }
        record["addresses"] = .array(card.properties("ADR").map { .object(Self.ownAddress($0)) })
        record["needs"] = .array(card.properties("CATEGORIES").flatMap { $0.components.joined() }.map { .string($0) })
        for field in Contact.type.fields where !field.isReadOnly && !ContactCard.standard.contains(field.name) {
            guard let text = card.property(ContactCard.own(field.name))?.text else { continue }
            record[field.name] = Self.value(text, field.kind)
        }
        for name in card.property(ContactCard.nothing)?.text.split(separator: " ") ?? [] {
            if Contact.type.field(String(name))?.isReadOnly == false { record[String(name)] = .null }
        }
        record = record.filter { $0.value != .null || Contact.type.field($0.key)?.defaultValue != nil }
    }

    /// Numbers, lists and the like stand as JSON; whatever is none is left for the field to refuse.
    private static func value(_ text: String, _ kind: FieldKind) -> JSONValue {
        switch kind {
        case .text, .choice, .date, .timestamp, .reference, .foreignID, .email, .phone, .country, .currency:
            return .string(text)
        default: return (try? JSONParser.parse(text.utf8)) ?? .string(text)
        }
    }

    private static func entry(_ property: VCard.Property, members: [String]) -> [String: JSONValue] {
        var entry: [String: JSONValue] = [
            "kind": .string(kind(property.types)), "primary": .bool(property.preference == 1),
            "verified": .bool(property.parameter(ContactCard.prefix + "VERIFIED") == ["true"]),
        ]
        for name in property.parameter(ContactCard.nothing) where entry[name] != nil { entry[name] = .null }
        return entry.filter { members.contains($0.key) }
    }

    private static func ownAddress(_ property: VCard.Property) -> [String: JSONValue] {
        let components = property.components
        func text(_ component: Int, _ index: Int = 0) -> JSONValue? {
            guard component < components.count, index < components[component].count,
                !components[component][index].isEmpty
            else { return nil }
            return .string(components[component][index])
        }
        var entry = Self.entry(property, members: ["kind"])
        entry["additional"] = text(1)
        entry["street"] = text(2)
        entry["house_number"] = text(2, 1)
        for (index, name) in ["city", "region", "postal_code", "country"].enumerated() { entry[name] = text(index + 3) }
        return entry
    }

    private static func kind(_ types: Set<String>) -> String {
        if !types.isDisjoint(with: ["cell", "mobile", "iphone"]) { return "mobile" }
        return types.contains("work") ? "work" : types.contains("home") ? "home" : "other"
    }

    // MARK: All others

    /// Properties that say nothing of a person, or whose meaning another one has.
    private static let silent: Set<String> = [
        "N", "FN", "EMAIL", "TEL", "ADR", "ORG", "TITLE", "ROLE", "BDAY", "CATEGORIES", "UID", "REV", "PRODID", "KIND",
        "IMPP", "SOCIALPROFILE", "X-SOCIALPROFILE", "LABEL", "SORT-STRING", "NAME", "PROFILE", "SOURCE", "MAILER",
        "CLASS",
        "CLIENTPIDMAP", "PHOTO", "LOGO", "SOUND", "KEY", "TZ", "GEO", "LANG",
    ]

    init(foreign card: VCard) {
        self.card = card
        if let name = card.name {
            let given = [name.given, name.additional].filter { !$0.isEmpty }.joined(separator: " ")
            if !given.isEmpty { record["given_name"] = .string(given) }
            if !name.family.isEmpty { record["family_name"] = .string(name.family) }
        }
        let formatted = card.formattedName ?? card.organization.first
        if let formatted { record["display_name"] = .string(formatted) }
        if let title = card.title { record["job_title"] = .string(title) }
        if let role = card.role { record["occupation"] = .string(role) }
        readBirthday()
        if let company = card.organization.first { named["organization_id"] = company }
        readChannels("emails", card.emails)
        readChannels("phones", card.phones)
        let socials = card.socialProfiles + card.messengers
        if !socials.isEmpty { record["socials"] = .array(socials.map(Self.social)) }
        let addresses = card.addresses.map { address($0) }
        if !addresses.isEmpty { record["addresses"] = .array(addresses.map { $0.0 }) }
        for country in addresses.compactMap(\.1) { leaveOut("ADR", "No country is known as \(country.prefix(60)).") }
        // Google puts every contact into a group that says nothing.
        let needs = card.categories.filter { !$0.lowercased().hasSuffix("mycontacts") }
        if !needs.isEmpty { record["needs"] = .array(needs.map { .string($0) }) }
        if let uid = card.uid {
            record["external_id"] = .string(uid.hasPrefix("urn:uuid:") ? String(uid.dropFirst(9)) : uid)
        }
        var told: Set<String> = []
        for property in card.properties where !Self.silent.contains(property.name) && !property.name.hasPrefix("X-") {
            if told.insert(property.name).inserted && !property.text.isEmpty {
                leaveOut(property.name, "A contact has no field for this: \(property.text.prefix(200))")
            }
        }
    }

    private mutating func leaveOut(_ property: String, _ message: String) {
        unplaced.append(RecordFileEntry.Unplaced(property: property, message: message))
    }

    private mutating func readBirthday() {
        guard let text = card.property("BDAY")?.text, !text.isEmpty else { return }
        if let date = card.birthday {
            record["birth_date"] = .string(date.text)
        } else {
            leaveOut("BDAY", "This is no full date: \(text.prefix(60))")
        }
    }

    private mutating func readChannels(_ field: String, _ channels: [VCard.Channel]) {
        if channels.isEmpty { return }
        let best = channels.compactMap(\.preference).min()
        // Of those that the card ranks alike the first is meant.
        let primary = channels.firstIndex { $0.preference == best } ?? 0
        record[field] = .array(
            channels.enumerated().map { index, channel in
                [
                    "value": .string(channel.value), "kind": .string(Self.kind(of: channel)),
                    "primary": .bool(index == primary),
                ]
            })
    }

    private static func social(_ channel: VCard.Channel) -> JSONValue {
        let isLink = channel.value.contains(":")
        // In a profile the service stands among the types.
        let service =
            channel.service
            ?? channel.types.subtracting(["work", "home", "cell", "other", "internet"]).sorted().first
        let value = isLink ? channel.value : [service, channel.value].compactMap { $0 }.joined(separator: ": ")
        return ["value": .string(value), "kind": .string(kind(of: channel))]
    }

    /// Apple and Google say it in a label of their own.
    private static func kind(of channel: VCard.Channel) -> String {
        kind(channel.types.union([channel.label?.lowercased()].compactMap { $0 }))
    }

    /// The address, and its country where no code is known for it.
    private func address(_ address: VCard.Address) -> (JSONValue, String?) {
        var entry: [String: JSONValue] = [
            "kind": .string(address.types.contains("work") ? "work" : address.types.contains("home") ? "home" : "other")
        ]
        let additional = [address.extended, address.postOfficeBox].filter { !$0.isEmpty }.joined(separator: ", ")
        let texts = [
            ("street", address.street), ("additional", additional), ("city", address.locality),
            ("region", address.region), ("postal_code", address.postalCode),
        ]
        for (name, text) in texts where !text.isEmpty {
            entry[name] = .string(text.replacing("\n", with: ", "))
        }
        let code = CountryNames.code(of: address.country) ?? address.countryCode
        if let code { entry["country"] = .string(code) }
        return (.object(entry), code == nil && !address.country.isEmpty ? address.country : nil)
    }
}

/// The codes of countries by what people call them, in the languages that cards are likely in.
enum CountryNames {
    /// The code of ISO 3166 for a code or a name, whatever its case; nil for none.
    static func code(of text: String) -> String? {
        let name = text.lowercased().filter { $0 != "." }
        return name.isEmpty ? nil : codes[name]
    }

    private static let codes: [String: String] = {
        var codes = ["usa": "US", "uk": "GB", "great britain": "GB", "england": "GB", "prc": "CN", "holland": "NL"]
        let languages = ["en", "zh-Hans", "zh-Hant", "de", "fr", "es", "it", "nl", "pt", "pl", "ja", "ar"]
        for region in Locale.Region.isoRegions
        where region.identifier.count == 2 && Normaliser.isCountry(region.identifier) {
            codes[region.identifier.lowercased()] = region.identifier
            for language in languages {
                let name = Locale(identifier: language).localizedString(forRegionCode: region.identifier)
                if let name, codes[name.lowercased()] == nil { codes[name.lowercased()] = region.identifier }
            }
        }
        return codes
    }()
}
