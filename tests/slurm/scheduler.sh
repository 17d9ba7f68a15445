#!/usr/bin/env bash
# A SLURM with two nodes of one core each, on this machine, for tests.
#
#   scheduler.sh start              without accounting: `sacct` does not work
#   scheduler.sh start accounting   with MariaDB and slurmdbd
#   scheduler.sh stop
#
# It needs root and Debian's packages, which it installs. It keeps its state in the
# folder NORMLAB_SLURM_FOLDER, and its configuration in /etc/slurm.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
folder=${NORMLAB_SLURM_FOLDER:-/tmp/normlab-slurm}
host=$(hostname -s)
accounting=${2:-none}

# wait_until COMMAND...: try it for 30 seconds.
wait_until() {
    for _ in $(seq 150); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    echo "error: this did not succeed within 30 seconds: $*" >&2
    exit 1
}

install_packages() {
    local packages=(slurm-wlm munge)
    if [ "$accounting" = accounting ]; then
        packages+=(slurmdbd mariadb-server)
    fi
    if dpkg -s "${packages[@]}" >/dev/null 2>&1; then
        return
    fi
    # Keep dpkg from starting the daemons: a container has no init that could.
    local policy=/usr/sbin/policy-rc.d
    local added_policy=false
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
        added_policy=true
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    if [ $added_policy = true ]; then
        rm $policy
    fi
}

write_configuration() {
    mkdir -p "$folder"/{controller,node1,node2,log,pid} /etc/slurm
    chown slurm: "$folder"/controller
    chmod 777 "$folder"/log "$folder"/pid
    local storage="AccountingStorageType=accounting_storage/none"
    if [ "$accounting" = accounting ]; then
        storage=$'AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1'
        write_database_configuration
    fi
    # Small arrays, so that a sweep of the tests needs several. A node counts as lost
    # after 15 seconds. A job that is queued again waits for its credentials to expire.
    cat >/etc/slurm/slurm.conf <<CONF
ClusterName=normlab
SlurmctldHost=$host(127.0.0.1)
SlurmUser=slurm
AuthType=auth/munge
AuthInfo=cred_expire=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
StateSaveLocation=$folder/controller
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/pid/slurmctld.pid
SlurmdPidFile=$folder/pid/slurmd-%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd-%n.log
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SlurmctldParameters=preempt_send_user_signal
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
MinJobAge=300
SlurmdTimeout=15
SlurmctldTimeout=20
InactiveLimit=0
MaxArraySize=21
$storage
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17001 CPUs=1 RealMemory=4000
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=17002 CPUs=1 RealMemory=4000
PartitionName=normal Nodes=node1,node2 Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=node1,node2 MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
PartitionName=small Nodes=node1 MaxTime=INFINITE PriorityTier=1 PreemptMode=OFF
CONF
}

write_database_configuration() {
    cat >/etc/slurm/slurmdbd.conf <<CONF
AuthType=auth/munge
DbdHost=$host
DbdAddr=127.0.0.1
SlurmUser=slurm
LogFile=$folder/log/slurmdbd.log
PidFile=$folder/pid/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=33306
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CONF
    chown slurm: /etc/slurm/slurmdbd.conf
    chmod 600 /etc/slurm/slurmdbd.conf
}

start_database() {
    local socket=$folder/database/socket
    mkdir -p "$folder"/database
    chown mysql: "$folder"/database
    if [ ! -d "$folder"/database/mysql ]; then
        mariadb-install-db --user=mysql --datadir="$folder"/database --skip-test-db >/dev/null 2>&1
    fi
    mariadbd --user=mysql --datadir="$folder"/database --port=33306 --bind-address=127.0.0.1 \
        --socket="$socket" --pid-file="$folder"/pid/mariadb.pid >"$folder"/log/mariadb.log 2>&1 &
    wait_until mariadb-admin --socket="$socket" ping
    mariadb --socket="$socket" <<SQL
create database if not exists slurm_acct_db;
create user if not exists slurm@localhost identified by 'slurm';
create user if not exists slurm@127.0.0.1 identified by 'slurm';
grant all on slurm_acct_db.* to slurm@localhost;
grant all on slurm_acct_db.* to slurm@127.0.0.1;
SQL
    slurmdbd
    wait_until sacctmgr --noheader show cluster
    sacctmgr --immediate add cluster normlab >/dev/null 2>&1 || true
}

munge_works() {
    munge --no-input | unmunge
}

both_nodes_are_idle() {
    [ "$(sinfo --noheader --partition=normal --states=idle --format=%D)" = 2 ]
}

start() {
    install_packages
    write_configuration
    mkdir -p /run/munge
    chown munge: /run/munge /var/log/munge /var/lib/munge /etc/munge
    if [ ! -s /etc/munge/munge.key ]; then
        head --bytes=1024 /dev/urandom >/etc/munge/munge.key
        chown munge: /etc/munge/munge.key
        chmod 400 /etc/munge/munge.key
    fi
    if ! munge_works >/dev/null 2>&1; then
        su -s /bin/sh munge -c munged
    fi
    wait_until munge_works
    if [ "$accounting" = accounting ]; then
        start_database
    fi
    slurmctld
    slurmd -N node1
    slurmd -N node2
    wait_until both_nodes_are_idle
    sinfo
}

# Where no init reaps processes that have ended, they stay as zombies.
no_daemon_is_left() {
    ! ps -C slurmctld,slurmd,slurmdbd -o state= | grep --quiet --invert-match Z
}

stop() {
    local name
    for name in slurmd-node1 slurmd-node2 slurmctld slurmdbd mariadb; do
        if [ -s "$folder/pid/$name.pid" ]; then
            kill "$(cat "$folder/pid/$name.pid")" 2>/dev/null || true
        fi
    done
    wait_until no_daemon_is_left
    rm -rf "$folder"/{controller,node1,node2,database,pid}
}

case ${1:-} in
    start) start ;;
    stop) stop ;;
    *)
        echo "usage: scheduler.sh start [accounting] | stop" >&2
        exit 2
        ;;
esac
