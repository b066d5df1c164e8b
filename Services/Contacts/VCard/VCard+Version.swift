extension VCard {
    /// The same card as `version` says it: what `VCardWriter` writes, and what reading that gives.
    ///
    /// Ranks become PREF in 4.0 (RFC 6350 §5.3) and TYPE=pref of the best one in 3.0 (RFC 2426 §3.3.1), where the other
    /// ranks are lost; dates become `19600131` or `1960-01-31`; `tel:` numbers become plain in 3.0. An FN is added where
    /// it is missing, of whatever names the card, and an N in 3.0: both are required there. 2.1 is taken for 3.0.
    package func adapted(to version: Version) -> VCard {
        let version = version == .v40 ? version : .v30
        var best: [String: Int] = [:]
        for property in properties {
            if let rank = property.preference { best[property.name] = min(rank, best[property.name] ?? 100) }
        }
        var card = VCard(version: version)
        if self.properties("FN").isEmpty { card.properties.append(Property("FN", fallbackName)) }
        if version == .v30 && self.properties("N").isEmpty {
            card.properties.append(Property("N", components: ["", "", "", "", ""]))
        }
        card.properties += properties.map { property in
            version == .v40 ? property.in40 : property.in30(isBest: property.preference == best[property.name])
        }
        return card
    }

    /// Reading a card in a hurry, one wants to see whose it is, be it only by a number.
    private var fallbackName: String {
        name?.formatted ?? organization.first ?? emails.first?.value ?? phones.first?.value ?? ""
    }
}

extension VCard.Property {
    fileprivate var in40: VCard.Property {
        var parameters = parameters
        let hadPreference = dropTypePref(from: &parameters)
        if hadPreference && parameter("PREF").isEmpty { parameters.append(VCard.Parameter("PREF", ["1"])) }
        return with(parameters, dateText { $0.filter { $0 != "-" } } ?? value)
    }

    fileprivate func in30(isBest: Bool) -> VCard.Property {
        var parameters = parameters
        dropTypePref(from: &parameters)
        parameters.removeAll { $0.name == "PREF" }
        if preference != nil && isBest {
            let index = parameters.firstIndex { $0.name == "TYPE" }
            let types = index.map { parameters.remove(at: $0).values } ?? []
            parameters.insert(VCard.Parameter("TYPE", types + ["pref"]), at: index ?? parameters.endIndex)
        }
        if name == "TEL" && text.lowercased().hasPrefix("tel:") {
            parameters.removeAll { $0.name == "VALUE" }
            return with(parameters, .text(String(text.dropFirst(4))))
        }
        return with(parameters, dateText { $0 } ?? value)
    }

    private func with(_ parameters: [VCard.Parameter], _ value: VCard.Value) -> VCard.Property {
        VCard.Property(readName: name, group: group, parameters: parameters, value: value)
    }

    /// Whether `pref` was among the types. A quoted list is taken apart only then.
    @discardableResult
    private func dropTypePref(from parameters: inout [VCard.Parameter]) -> Bool {
        var isFound = false
        for (index, parameter) in parameters.enumerated().reversed() where parameter.name == "TYPE" {
            guard parameter.values.contains(where: Self.namesPreference) else { continue }
            let values = parameter.values.flatMap { $0.split(separator: ",").map { String($0).trimmed } }
            let others = values.filter { $0.lowercased() != "pref" }
            isFound = true
            parameters.remove(at: index)
            if !others.isEmpty { parameters.insert(VCard.Parameter("TYPE", others), at: index) }
        }
        return isFound
    }

    /// A full date without a time in another form; nil when there is none.
    private func dateText(_ form: (String) -> String) -> VCard.Value? {
        guard name == "BDAY" || name == "ANNIVERSARY", text.allSatisfy({ $0.isNumber || $0 == "-" }) else { return nil }
        return VCard.CalendarDate(text).map { .text(form($0.text)) }
    }
}
