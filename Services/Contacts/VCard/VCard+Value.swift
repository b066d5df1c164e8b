extension VCard {
    /// A property's value in the shape that its name asks for (RFC 6350 §3.3, §4).
    package enum Value: Sendable, Equatable {
        /// One text or address (URI), unescaped.
        case text(String)
        /// Texts that a comma separates, as in CATEGORIES. `[""]` is written as `[]`, and becomes it.
        case list([String])
        /// Components that a semicolon separates, each a list, as in N and ADR; an empty component is `[]`.
        case structured([[String]])
        /// As it stands in the card, still escaped: the value of a property that we don't know.
        case raw(String)
    }
}

extension VCard.Value {
    /// Without the control characters that no card may hold.
    var clean: VCard.Value {
        switch self {
        case .text(let text): .text(text.withoutControls)
        case .list(let values): .list(values.map(\.withoutControls))
        case .structured(let components): .structured(components.map { $0.map(\.withoutControls) })
        case .raw(let raw): .raw(raw.withoutControls.replacing("\n", with: "\\n"))
        }
    }

    /// The same in the shape in which it is read back.
    func fitted(to kind: ValueKind) -> VCard.Value {
        switch (kind, self) {
        case (.text, .text), (.uri, .text), (.raw, .raw): return self
        case (.text, _), (.uri, _): return .text(asText)
        case (.raw, _): return .raw(EscapedText.escaping(asText, .text))
        case (.list, .list(let values)): return .list(values == [""] ? [] : values)
        case (.list, _): return .list(asText.isEmpty ? [] : [asText])
        case (.structured(let hasLists), .structured(let components)):
            let filled = components.isEmpty ? [[]] : components
            return .structured(filled.map { Self.component($0, hasLists: hasLists) })
        case (.structured, _): return .structured([asText.isEmpty ? [] : [asText]])
        }
    }

    private static func component(_ values: [String], hasLists: Bool) -> [String] {
        let whole = hasLists || values.count < 2 ? values : [values.joined(separator: ", ")]
        return whole == [""] ? [] : whole
    }

    private var asText: String { VCard.Property(readName: "", group: nil, parameters: [], value: self).text }
}
