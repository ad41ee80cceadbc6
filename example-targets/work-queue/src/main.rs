//! tmp
use std::sync::Arc;
use std::time::{Duration,Instant};
use work_queue::*;
fn main(){
 let n:usize=std::env::args().nth(1).unwrap().parse().unwrap();
 let dir=std::env::args().nth(2).unwrap();
 let rt=tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
 rt.block_on(async move {
  let store=Arc::new(SqliteStore::open(format!("{dir}/q.db")).unwrap());
  let e=Engine::builder(store).handlers(queue_noop::handlers()).workflow(queue_noop::workflow(16)).start().await.unwrap();
  let t=Instant::now();
  let mut left=n; while left>0 { let k=left.min(1000); e.create_many("queue-noop-16",(0..k).map(|_|(queue_noop::input(16),0,Duration::ZERO)).collect()).await.unwrap(); left-=k; }
  println!("created {:?}",t.elapsed());
  loop { tokio::time::sleep(Duration::from_millis(20)).await; let m=e.metrics(); if m.instances_completed+m.instances_failed>=n as u64 {break;} if t.elapsed()>Duration::from_secs(60){break;} }
  let s=t.elapsed(); let m=e.metrics();
  println!("{:.0} actions/s in {s:?}", m.actions_completed as f64/s.as_secs_f64());
  println!("{}", serde_json::to_string(&m).unwrap().replace("},","},\n"));
  let t=Instant::now(); println!("{:?} {:?}", e.shutdown(Duration::from_secs(1)).await, t.elapsed());
 });
}
