import Foundation

/// Where a customer stands in the relationship.
public enum LifecycleStage: String, Codable, Sendable, CaseIterable {
    case prospect
    case firstPurchase = "first_purchase"
    case growth, mature, decline, ended
    /// Came back after the relationship had ended.
    case recovered

    /// The four phases that the stages are summed up in.
    public var group: LifecycleGroup {
        switch self {
        case .prospect, .firstPurchase: .trial
        case .growth, .recovered: .growth
        case .mature: .stable
        case .decline, .ended: .decline
        }
    }
}

/// The phases of a relationship: what its stages are summed up in.
public enum LifecycleGroup: String, Codable, Sendable, CaseIterable {
    case trial, growth, stable, decline
}

/// A stage with the rule that gave it and the figures that the rule looked at.
public struct StageAssessment: Codable, Sendable, Equatable {
    public let stage: LifecycleStage
    /// Stable, for programs: `one_purchase`, `silent_too_long` …
    public let rule: String
    public let figures: [String: Double]

    public init(stage: LifecycleStage, rule: String, figures: [String: Double]) {
        self.stage = stage
        self.rule = rule
        self.figures = figures
    }
}
