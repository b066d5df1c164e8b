import ServiceKit
import Tickets

@main
enum TicketsMain {
    static func main() async { await ServiceCommand(ticketsService).main() }
}
