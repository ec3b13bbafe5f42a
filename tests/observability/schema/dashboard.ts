// What a classic dashboard of ours may hold, in the types of Grafana's own package. `test_schema.py` writes each JSON file
// beside this one as a literal of `OurDashboard`, so that a wrong name and a wrong word are both errors of the compiler.
import type { AnnotationQuery, Dashboard, DataQuery, FieldConfig, Panel, RowPanel, VariableModel } from "@grafana/schema";
import type * as BarGauge from "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type * as Gauge from "@grafana/schema/dist/esm/raw/composable/gauge/panelcfg/x/GaugePanelCfg_types.gen";
import type * as PieChart from "@grafana/schema/dist/esm/raw/composable/piechart/panelcfg/x/PieChartPanelCfg_types.gen";
import type * as Stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as StateTimeline from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type * as Table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as TimeSeries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

/** JSON has the words of an enumeration, not the enumeration. */
type Written<T> = T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends (infer Item)[] ? Written<Item>[]
  : T extends object ? { [Key in keyof T]: Written<T[Key]> }
  : T;

/** The query of the Prometheus data source; the package has none of its own. */
interface PrometheusQuery extends Omit<DataQuery, "datasource"> {
  datasource: { type: "prometheus"; uid: "${datasource}" };
  editorMode: "code";
  expr: string;
  legendFormat: string;
  instant: boolean;
  range: boolean;
  format?: "table";
}

/** Of the ids that `getValueFormats()` of `@grafana/data` 13.2 knows, those in use; a wrong one is shown as a suffix. */
type Unit = "bytes" | "currencyUSD" | "dateTimeFromNow" | "none" | "opm" | "percentunit" | "reqpm" | "reqps" | "s" | "short";

/** `Custom` is what this kind of panel keeps under `fieldConfig.defaults.custom`. */
type Drawn<Kind extends string, Options, Custom> =
  Omit<Panel, "type" | "title" | "description" | "gridPos" | "targets" | "options" | "fieldConfig"> & {
    type: Kind;
    title: string;
    description: string;
    gridPos: NonNullable<Panel["gridPos"]>;
    targets: PrometheusQuery[];
    options: Partial<Options>;
    fieldConfig: Omit<NonNullable<Panel["fieldConfig"]>, "defaults"> & {
      defaults: Omit<FieldConfig, "custom" | "unit"> & { unit: Unit; custom: Partial<Custom> };
    };
  };

type OurPanel =
  | RowPanel & { type: "row" }
  | Drawn<"bargauge", BarGauge.Options, object>
  | Drawn<"gauge", Gauge.Options, object>
  | Drawn<"piechart", PieChart.Options, PieChart.FieldConfig>
  | Drawn<"stat", Stat.Options, object>
  | Drawn<"state-timeline", StateTimeline.Options, StateTimeline.FieldConfig>
  | Drawn<"table", Table.Options, Table.FieldConfig>
  | Drawn<"timeseries", TimeSeries.Options, TimeSeries.FieldConfig>;

/** Grafana reads these of a Prometheus query variable and annotation; the package does not name them. */
type Variable = VariableModel & { definition?: string };
type Annotation = AnnotationQuery & { expr?: string; step?: string; titleFormat?: string; textFormat?: string };

export type OurDashboard = Written<Omit<Dashboard, "panels" | "templating" | "annotations" | "schemaVersion"> & {
  schemaVersion: 39;
  panels: OurPanel[];
  templating: { list: Variable[] };
  annotations: { list: Annotation[] };
}>;
