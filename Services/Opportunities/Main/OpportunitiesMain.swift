import Opportunities
import ServiceKit

@main
enum OpportunitiesMain {
    static func main() async { await ServiceCommand(opportunitiesService).main() }
}
