//! Lists, details, distributions, states and changes of containers, processes and the host.

use std::{
    fs,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::Value as Json;

use super::{QUOTA, RUNQUEUE, Server, WEB, process, tick};

/// The id of a container whose processes are gone.
const LEFT: &str = "6cc65076bd4226d63fc26a501ccd26529c8241474481ca829bc06091ab74c1ee";

#[tokio::test]
async fn containers_by_stall() {
    let server = Server::new(5);
    let list = server.json("/api/v1/containers").await;
    assert_eq!(list["span_ns"], 1_000_000_000u64);
    let rows = list["containers"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["db", "we\"b"], "the most stalled first, no unit, no process");
    assert_eq!(rows[0]["activity"]["stall"], 0.75);
    assert_eq!(rows[0]["activity"]["cpu_cores"], 0.5);
    assert_eq!(rows[1]["id"], WEB);
    let all = server.json("/api/v1/containers?all=true").await;
    let all = all["containers"].as_array().unwrap();
    let process_id = format!("process:{}", process());
    assert!(all.iter().any(|row| row["name"] == "nginx.service"));
    assert!(all.iter().all(|row| row["id"] != process_id));
}

#[tokio::test]
async fn what_is_left_of_a_killed_container_is_no_container() {
    let server = Server::new(5);
    let directory = server.fed.registry.tree().path_of(&format!("libpod_parent/libpod-{LEFT}"));
    fs::create_dir_all(&directory).unwrap();
    server.fed.registry.resync();
    let shown = async |path: &str| {
        let list = server.json(path).await;
        list["containers"].as_array().unwrap().iter().any(|row| row["id"] == LEFT)
    };
    assert!(shown("/api/v1/containers").await, "where it cannot be told, it is shown");
    fs::write(directory.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
    assert!(shown("/api/v1/containers").await);
    fs::write(directory.join("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
    assert!(!shown("/api/v1/containers").await);
    assert!(shown("/api/v1/containers?all=true").await);
}

#[tokio::test]
async fn one_container_with_the_metrics_asked_for() {
    let server = Server::new(5);
    let list = server
        .json("/api/v1/containers?container=db&metrics=cgscope_sched_cpu_seconds_total")
        .await;
    let rows = list["containers"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["metrics"][0]["per_second"], 0.5);
    assert_eq!(rows[0]["metrics"][0]["unit"], "seconds");
    let detail = server.json("/api/v1/containers/we%22b?duration=3s").await;
    assert_eq!(detail["span_ns"], 3_000_000_000u64);
    let metrics = detail["metrics"].as_array().unwrap();
    assert_eq!(metrics.len(), 5);
    let waits = metrics.iter().find(|m| m["kind"] == "distribution").unwrap();
    assert_eq!(waits["count"], 30);
}

#[tokio::test]
async fn latency_of_container_host_and_prefix() {
    let server = Server::new(20);
    for path in ["/containers/we%22b/latency", "/containers/4aa6/latency", "/host/latency"] {
        let report = server.json(&format!("/api/v1{path}?duration=10s")).await;
        let distribution = &report["distributions"][0];
        assert_eq!(distribution["name"], RUNQUEUE.name);
        assert_eq!(distribution["count"], 100, "{path}");
        let buckets = distribution["buckets"].as_array().unwrap();
        let sum: u64 = buckets.iter().map(|b| b["count"].as_u64().unwrap()).sum();
        assert_eq!(sum, 100);
        assert!(buckets[0]["le_ns"].as_u64().unwrap() > 3_000_000);
        let p99 = distribution["p99_ns"].as_u64().unwrap();
        assert!((2_600_000..3_400_000).contains(&p99), "{p99}");
    }
    let report = server.json("/api/v1/containers/db/latency?duration=1s").await;
    assert_eq!(report["distributions"], serde_json::json!([]));
}

#[tokio::test]
async fn states_sum_to_one() {
    let server = Server::new(5);
    let report = server.json("/api/v1/containers/db/states?duration=2s").await;
    assert_eq!(report["about"]["kind"], "container");
    let states = report["activity"]["states"].as_array().unwrap();
    let sum: f64 = states.iter().map(|s| s["share"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    let host = server.json("/api/v1/host/states?duration=2s").await;
    assert_eq!(host["activity"]["cpu_cores"], 1.0, "two containers, not the watched process");
}

#[tokio::test]
async fn changes_of_limits_with_what_they_were() {
    let server = Server::new(1);
    let all = server.json("/api/v1/changes").await;
    let changes = all["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2);
    assert_eq!((&changes[0]["name"], &changes[0]["new"]), (&"db".into(), &Json::Null));
    assert_eq!(changes[0]["old"], 0.007);
    let of_web = server.json("/api/v1/changes?container=we%22b").await;
    let [change] = &of_web["changes"].as_array().unwrap()[..] else { panic!("{of_web}") };
    assert_eq!((&change["container"], &change["metric"]), (&WEB.into(), &QUOTA.name.into()));
    assert_eq!((&change["old"], &change["new"]), (&Json::Null, &0.02.into()));
    assert_eq!(server.refused("/api/v1/changes?container=nobody").await.0, 404);
}

#[tokio::test]
async fn slow_operations_with_whose_and_where() {
    let server = Server::new(1);
    let all = server.json("/api/v1/outliers?duration=5m&limit=1").await;
    assert_eq!((&all["total"], &all["span_ns"]), (&3.into(), &60_000_000_000u64.into()));
    let [slowest] = &all["outliers"].as_array().unwrap()[..] else { panic!("{all}") };
    assert_eq!((&slowest["container"], &slowest["latency_ns"]), (&WEB.into(), &4_000_000.into()));
    assert_eq!((&slowest["thread"], &slowest["tid"]), (&Json::Null, &Json::Null));
    assert_eq!(slowest["stack"], 0);
    let of_db = server.json("/api/v1/outliers?kind=block&container=db").await;
    // Each stack once, from the entry on.
    assert_eq!(of_db["stacks"], serde_json::json!([["function_20", "function_30"]]));
    let [row] = &of_db["outliers"].as_array().unwrap()[..] else { panic!("{of_db}") };
    assert_eq!((&row["name"], &row["pid"], &row["tid"]), (&"db".into(), &7.into(), &8.into()));
    assert_eq!((&row["sector"], &row["service_ns"]), (&2_048.into(), &1_500_000.into()));
    assert_eq!(row["file"], Json::Null);
    assert_eq!(of_db["missing"], serde_json::json!([]), "requests are looked for");
    let of_files = server.json("/api/v1/outliers?kind=file").await;
    let [row] = &of_files["outliers"].as_array().unwrap()[..] else { panic!("{of_files}") };
    assert_eq!((&row["file"], &row["inode"]), (&"/var/lib/table".into(), &12.into()));
    assert_eq!((&row["operation"], &row["sector"]), (&"sync".into(), &Json::Null));
    assert_eq!((&row["stack"], &of_files["stacks"]), (&Json::Null, &serde_json::json!([])));
    assert_eq!(of_files["missing"][0]["kind"], "file");
    assert!(of_files["missing"][0]["remedy"].as_str().unwrap().contains("--enable files"));
    assert_eq!(server.refused("/api/v1/outliers?kind=disk").await.0, 400);
    assert_eq!(server.refused("/api/v1/outliers?duration=11m").await.0, 400);
    assert_eq!(server.refused("/api/v1/outliers?container=nobody").await.0, 404);
}

#[tokio::test]
async fn a_window_that_is_not_there_yet_is_waited_for() {
    let server = Server::new(2);
    let live = server.fed.live.clone();
    let feed = tokio::spawn(async move {
        for second in 2..=8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            live.add(tick(second));
        }
    });
    let report = server.json("/api/v1/containers/we%22b/latency?duration=5s").await;
    assert_eq!(report["span_ns"], 5_000_000_000u64);
    feed.await.unwrap();
}

#[tokio::test]
async fn a_process_is_watched_as_long_as_it_is_asked_for() {
    let server = Server::new(1);
    let live = server.fed.live.clone();
    let watched = Arc::clone(&server.fed.watched);
    let feed = tokio::spawn(async move {
        for second in 1..=5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(watched.load(Ordering::SeqCst), 1);
            live.add(tick(second));
        }
    });
    let report = server.json(&format!("/api/v1/processes/{}/latency?duration=4s", process())).await;
    assert_eq!(report["about"]["pid"], process().0);
    assert_eq!(report["distributions"][0]["count"], 40);
    feed.await.unwrap();
    assert_eq!(server.fed.watched.load(Ordering::SeqCst), 0);
    assert_eq!(server.refused("/api/v1/processes/4194305/states").await.0, 410);
}
