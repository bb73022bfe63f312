use crate::output::{Exit, Output};

#[derive(clap::Args)]
pub struct Watch {
    #[command(flatten)]
    datapath: crate::paths::Datapath,
}

impl Watch {
    pub fn run(self, output: Output) -> anyhow::Result<Exit> {
        output.print(&serde_json::json!({ "pins": self.datapath.pin_path }));
        Ok(Exit::Done)
    }
}
