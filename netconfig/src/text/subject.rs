//! Which link is judged, and that there is none.

catalogue! {
    state_of_link_unknown(name) {
        en: "The state of {name} is not known",
        ko: "{name} 인터페이스의 상태를 알 수 없습니다",
    }
    state_of_link_unknown_why {
        en: "Without the kernel's list of interfaces neither the link nor its address can be judged.",
        ko: "커널의 인터페이스 목록이 없으면 링크도 주소도 판단할 수 없습니다.",
    }
    no_such_interface(name) {
        en: "There is no interface called {name}",
        ko: "{name} 인터페이스가 없습니다",
    }
    these_exist(names) {
        en: "these exist: {names}",
        ko: "있는 인터페이스: {names}",
    }
    no_such_interface_why {
        en: "Nothing can be sent over an interface that does not exist.",
        ko: "없는 인터페이스로는 아무것도 보낼 수 없습니다.",
    }
    no_such_interface_do {
        en: "Name one of those that exist with --interface, or leave it out to find the Thunderbolt link",
        ko: "--interface에 실제로 있는 이름을 지정하거나, 옵션을 빼서 Thunderbolt 링크를 자동으로 찾게 합니다",
    }
    several_links(name) {
        en: "More than one Thunderbolt link is up; {name} is judged here",
        ko: "Thunderbolt 링크가 둘 이상 켜져 있습니다. 여기서는 {name} 인터페이스를 점검합니다",
    }
    several_links_why {
        en: "Programs that look for the one Thunderbolt link will not choose between them.",
        ko: "Thunderbolt 링크를 자동으로 찾는 프로그램은 여러 링크 중에서 고르지 않습니다.",
    }
    several_links_do(name) {
        en: "Name the one you mean: --interface {name}",
        ko: "사용할 링크를 직접 지정합니다: --interface {name}",
    }
    thunderbolt_interface_unknown {
        en: "Whether there is a Thunderbolt interface is not known",
        ko: "Thunderbolt 인터페이스가 있는지 알 수 없습니다",
    }
    thunderbolt_interface_unknown_why {
        en: "Without the kernel's list of interfaces nothing can be judged.",
        ko: "커널의 인터페이스 목록이 없으면 아무것도 판단할 수 없습니다.",
    }
    no_thunderbolt_interface {
        en: "There is no Thunderbolt network interface",
        ko: "Thunderbolt 네트워크 인터페이스가 없습니다",
    }
    no_thunderbolt_driver {
        en: "no interface has the driver thunderbolt-net",
        ko: "thunderbolt-net 드라이버를 쓰는 인터페이스가 없습니다",
    }
    no_thunderbolt_interface_why {
        en: "Linux makes one (usually thunderbolt0) when the driver is loaded and a computer is at the other end of the cable.",
        ko: "Linux는 드라이버가 로드되어 있고 케이블 반대편에 컴퓨터가 있을 때 인터페이스(보통 thunderbolt0)를 만듭니다.",
    }
    computer_at_the_end(peer) {
        en: "{peer} is at the other end of a cable",
        ko: "케이블 반대편에 {peer}",
    }
    load_the_driver {
        en: "Load the driver",
        ko: "드라이버를 로드합니다",
    }
    load_the_driver_on_both {
        en: "Load the driver on both machines",
        ko: "두 기기 모두에서 드라이버를 로드합니다",
    }
    no_xdomain {
        en: "No computer is seen at the end of any Thunderbolt cable",
        ko: "Thunderbolt 케이블 끝에서 컴퓨터를 찾을 수 없습니다",
    }
    no_xdomain_seen {
        en: "no computer (xdomain) on the Thunderbolt bus",
        ko: "Thunderbolt 버스에 컴퓨터(xdomain)가 없습니다",
    }
    no_xdomain_why {
        en: "After a warm boot the two controllers sometimes do not find each other although the cable is in.",
        ko: "재시동한 뒤에는 케이블이 꽂혀 있어도 두 컨트롤러가 서로를 찾지 못하는 경우가 있습니다.",
    }
    replug {
        en: "Unplug the cable and plug it in again; see that it is a Thunderbolt cable (it bears the lightning mark)",
        ko: "케이블을 뺐다가 다시 꽂습니다. 번개 표시가 있는 Thunderbolt 케이블인지 확인합니다",
    }
    bridge_unknown {
        en: "Whether there is a Thunderbolt bridge is not known",
        ko: "Thunderbolt 브리지가 있는지 알 수 없습니다",
    }
    bridge_unknown_why {
        en: "Both the kernel's interfaces and the hardware ports have to be seen to say that there is none.",
        ko: "커널의 인터페이스와 하드웨어 포트를 모두 보아야 브리지가 없다고 말할 수 있습니다.",
    }
    bridge_missing {
        en: "There is no Thunderbolt bridge",
        ko: "Thunderbolt 브리지가 없습니다",
    }
    bridge_lost(device) {
        en: "{device} is in the settings, but not there",
        ko: "{device} 브리지가 설정에는 있지만 실제로는 없습니다",
    }
    restart_brings_it_back {
        en: "Restart the Mac: macOS then makes what is in its settings. If it is still not there, delete the bridge and make it anew:",
        ko: "Mac을 재시동하면 macOS가 설정에 있는 것을 다시 만듭니다. 그래도 없으면 브리지를 지우고 새로 만듭니다:",
    }
    no_bridge_in_kernel {
        en: "no bridge with Thunderbolt ports as its members",
        ko: "Thunderbolt 포트를 구성원으로 가진 브리지가 없습니다",
    }
    no_bridge_among_ports {
        en: "no bridge among the hardware ports",
        ko: "하드웨어 포트 목록에 브리지가 없습니다",
    }
    bridge_missing_why {
        en: "macOS speaks IP over a Thunderbolt cable through a bridge of the Thunderbolt ports. Without one the cable carries no network.",
        ko: "macOS는 Thunderbolt 포트를 묶은 브리지를 통해 케이블로 IP 통신을 합니다. 브리지가 없으면 케이블이 네트워크로 쓰이지 않습니다.",
    }
    manage_virtual_interfaces {
        en: "System Settings > Network > … (below the list) > Manage Virtual Interfaces…",
        ko: "시스템 설정 > 네트워크 > …(목록 아래) > 가상 인터페이스 관리…",
    }
    new_bridge {
        en: "+ > New Thunderbolt Bridge… > tick every Thunderbolt port > Create > Done",
        ko: "+ > 새로운 Thunderbolt 브리지… > 모든 Thunderbolt 포트에 체크 > 생성 > 완료",
    }
    no_command_makes_a_bridge {
        en: "No command makes a bridge that lasts; this one shows it once it is there",
        ko: "재시동 후에도 남는 브리지를 만드는 명령은 없습니다. 아래 명령은 만들어진 브리지를 확인하는 데 씁니다",
    }
    removed_by_exo {
        en: "exo has replaced the Thunderbolt bridge by services of its own",
        ko: "exo가 Thunderbolt 브리지를 없애고 자체 서비스로 바꾸었습니다",
    }
    exo_beside_bridge(name) {
        en: "exo's own network settings are still there beside {name}",
        ko: "exo가 만든 네트워크 설정이 {name} 브리지와 함께 남아 있습니다",
    }
    exo_services(names) {
        en: "services made by exo: {names}",
        ko: "exo가 만든 서비스: {names}",
    }
    exo_location(name) {
        en: "the location in use is {name}",
        ko: "사용 중인 네트워크 위치: {name}",
    }
    exo_daemon {
        en: "exo's network daemon is installed",
        ko: "exo의 네트워크 데몬이 설치되어 있습니다",
    }
    removed_by_exo_why {
        en: "Its daemon takes the bridge away again at every start, so a bridge made by hand does not stay.",
        ko: "exo의 데몬이 시동할 때마다 브리지를 다시 없애므로, 직접 만든 브리지가 남지 않습니다.",
    }
    removed_by_exo_do {
        en: "Run exo's uninstaller, then choose the location Automatic and make the bridge; or use one of its per-port services: --interface enN",
        ko: "exo의 제거 프로그램을 실행한 뒤 네트워크 위치로 \"자동\"을 선택하고 브리지를 만듭니다. 또는 포트별 서비스를 그대로 씁니다: --interface enN",
    }
}
