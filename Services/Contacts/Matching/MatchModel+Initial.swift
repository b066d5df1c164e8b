extension MatchModel {
    /// Generic values from experience with personal data, for a tenant too small to fit its own; also where the fit
    /// starts and what it is drawn back to.
    package static let initial = MatchModel(
        formula: currentFormula, prior: 1e-4, householdPrior: 2e-4,
        fields: MatchField.allCases.map(initialLevels), termFrequencies: TermFrequencies())

    private static func initialLevels(_ field: MatchField) -> Levels {
        switch field {
        case .givenName:
            levels(
                shared: 0.15, exact: (0.78, 0.008), close: (0.09, 0.001), similar: (0.04, 0.012),
                partial: (0.04, 0.006), swapped: (0.02, 0.0005), different: (0.03, 0.9725))
        case .familyName:
            levels(
                shared: 0.65, exact: (0.80, 0.004), close: (0.09, 0.001), similar: (0.03, 0.010),
                partial: (0.02, 0.003), swapped: (0.02, 0.002), different: (0.04, 0.98))
        case .birthDate:
            levels(
                shared: 0.15, exact: (0.84, 0.0001), close: (0.06, 0.0006), similar: (0.03, 0.0040),
                partial: (0.01, 0.0150), swapped: (0.02, 0.00003), different: (0.04, 0.98027))
        case .identifier:
            levels(
                shared: 0.001, exact: (0.88, 0.00001), close: (0.06, 0.00005), similar: (0.02, 0.001),
                different: (0.04, 0.99894))
        case .email:
            levels(
                shared: 0.12, exact: (0.68, 0.0001), close: (0.07, 0.00005), partial: (0.07, 0.0002),
                different: (0.18, 0.99965))
        case .phone:
            levels(
                shared: 0.5, exact: (0.68, 0.0001), close: (0.08, 0.0001), partial: (0.04, 0.0001),
                different: (0.20, 0.9997))
        case .houseNumber:
            levels(shared: 0.95, exact: (0.82, 0.012), close: (0.09, 0.10), different: (0.09, 0.888))
        case .street:
            levels(
                shared: 0.95, exact: (0.76, 0.001), close: (0.10, 0.0005), similar: (0.03, 0.008),
                partial: (0.02, 0.004), swapped: (0.03, 0.0002), different: (0.06, 0.9863))
        case .addressLine2:
            levels(
                shared: 0.92, exact: (0.74, 0.003), close: (0.10, 0.0005), similar: (0.04, 0.006),
                partial: (0.02, 0.005), swapped: (0.03, 0.003), different: (0.07, 0.9825))
        case .city:
            levels(
                shared: 0.96, exact: (0.80, 0.02), close: (0.09, 0.001), similar: (0.03, 0.012),
                partial: (0.02, 0.010), different: (0.06, 0.957))
        case .postalCode:
            levels(
                shared: 0.96, exact: (0.80, 0.005), close: (0.09, 0.02), similar: (0.03, 0.06),
                partial: (0.02, 0.06), different: (0.06, 0.855))
        case .region:
            levels(shared: 0.96, exact: (0.90, 0.20), close: (0.04, 0.02), different: (0.06, 0.78))
        case .country:
            levels(shared: 0.98, exact: (0.96, 0.70), close: (0.01, 0.01), different: (0.03, 0.29))
        }
    }

    /// Each level's probability for one person and for strangers; `shared` is how often a household has the value in
    /// common.
    private static func levels(
        shared: Double, exact: (Double, Double), close: (Double, Double), similar: (Double, Double)? = nil,
        partial: (Double, Double)? = nil, swapped: (Double, Double)? = nil, different: (Double, Double)
    ) -> Levels {
        let none = (0.0, 0.0)
        let all = [none, exact, close, similar ?? none, partial ?? none, swapped ?? none, different]
        return Levels(m: all.map(\.0), u: all.map(\.1), shared: shared)
    }
}
